"""JSON Schema of every message, for who writes or reads them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final

from pydantic import TypeAdapter

_MESSAGES: Final[Mapping[str, tuple[str, str]]] = {
    "transaction": ("stream_guard.events.messages", "Transaction"),
    "account-update": ("stream_guard.events.messages", "AccountUpdate"),
    "disposition": ("stream_guard.events.messages", "Disposition"),
    "risk-signal": ("stream_guard.events.messages", "RiskSignal"),
    "decision": ("stream_guard.alerts", "Decision"),
    "alert": ("stream_guard.alerts", "Alert"),
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
    if name not in _MESSAGES:
        raise ValueError(f"no message is called {name!r}; there are {', '.join(SCHEMA_NAMES)}")
    module, attribute = _MESSAGES[name]
    # What goes out is defined apart, and loaded only by who asks for it.
    message = getattr(importlib.import_module(module), attribute)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **TypeAdapter(message).json_schema()}
