"""JSON Schema of every message, for who writes or reads them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import TypeAdapter

_IN, _OUT = "stream_guard.events.messages", "stream_guard.alerts"

_MESSAGES: Final[Mapping[str, tuple[str, str, str]]] = {
    "transaction": (_IN, "Transaction", "TRANSACTION_SCHEMA_VERSION"),
    "account-update": (_IN, "AccountUpdate", "ACCOUNT_UPDATE_SCHEMA_VERSION"),
    "disposition": (_IN, "Disposition", "DISPOSITION_SCHEMA_VERSION"),
    "risk-signal": (_IN, "RiskSignal", "RISK_SIGNAL_SCHEMA_VERSION"),
    "decision": (_OUT, "Decision", "DECISION_SCHEMA_VERSION"),
    "alert": (_OUT, "Alert", "ALERT_SCHEMA_VERSION"),
}
SCHEMA_NAMES: Final = tuple(_MESSAGES)
"""The messages that `schema` knows, those that come in first."""


def schema(name: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of a message, with descriptions and examples.

    Raises
    ------
    ValueError
        No message of this name.

    Examples
    --------
    >>> schema("transaction")["required"]
    ['event_id', 'ts', 'account', 'counterparty', 'amount']
    """
    model, version = _message(name)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:stream-guard:{name}:{version}",
        **TypeAdapter(model).json_schema(),
    }


def schema_version(name: str) -> int:
    """Version of a message's schema: raised when who writes or reads the message would have to change.

    Raises
    ------
    ValueError
        No message of this name.

    Examples
    --------
    >>> schema_version("transaction")
    1
    """
    return _message(name)[1]


def components(names: Sequence[str], ref_template: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Schemas of several messages that share their parts.

    Parameters
    ----------
    ref_template
        How a schema refers to a part, with ``{model}`` in place of its name.

    Returns
    -------
    tuple
        Schema by message name; shared parts by name.
    """
    adapters: list[tuple[str, Literal["validation"], TypeAdapter[Any]]] = [
        (name, "validation", TypeAdapter(_message(name)[0])) for name in names
    ]
    made, shared = TypeAdapter.json_schemas(adapters, ref_template=ref_template)
    return {name: made[name, "validation"] for name in names}, shared.get("$defs", {})


def _message(name: str) -> tuple[Any, int]:
    if name not in _MESSAGES:
        raise ValueError(f"no message is called {name!r}; there are {', '.join(SCHEMA_NAMES)}")
    module, model, version = _MESSAGES[name]
    # What goes out is defined apart, and loaded only by who asks for it.
    loaded = importlib.import_module(module)
    return getattr(loaded, model), getattr(loaded, version)
