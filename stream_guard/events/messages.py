"""The messages a bank writes, with their units and bounds."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, NamedTuple, NotRequired, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator, with_config
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypedDict

from stream_guard.detection.vocabulary import Outcome, Role, SignalKind, SignalSource

TRANSACTION_SCHEMA_VERSION: Final = 1
ACCOUNT_UPDATE_SCHEMA_VERSION: Final = 1
DISPOSITION_SCHEMA_VERSION: Final = 1
RISK_SIGNAL_SCHEMA_VERSION: Final = 1

MAX_ID: Final = 64
"""Longest id or label, characters."""

MAX_PROSE: Final = 4_000
"""Longest note or reason, characters."""

MAX_AMOUNT: Final = 1e12
"""Amounts stay below this; larger ones are defects, and a float64 keeps the cents of smaller ones exact."""

MAX_BALANCE: Final = 1e18
"""Balances stay within plus and minus this, so that converting one never overflows."""

EARLIEST_MS: Final = 631_152_000_000
"""1990-01-01T00:00:00Z, the earliest event time, epoch ms. Seconds sent as milliseconds fall before it."""

LATEST_MS: Final = 4_102_444_800_000
"""2100-01-01T00:00:00Z, the first time refused, epoch ms. Microseconds sent as milliseconds fall after it."""

EARLIEST_OPENED_MS: Final = -2_208_988_800_000
"""1900-01-01T00:00:00Z, the earliest opening of an account, epoch ms."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_RFC3339 = re.compile(_DATE + r"[Tt ][0-9]{2}:[0-9]{2}:([0-9]{2})(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})")
_FULL_DATE = re.compile(_DATE)


def epoch_ms(text: str) -> int:
    """Epoch milliseconds of an RFC 3339 time; digits beyond the millisecond are cut off.

    Raises
    ------
    ValueError
        No RFC 3339 time, or one without an offset: nobody knows when that was.

    Examples
    --------
    >>> epoch_ms("2026-11-24T09:30:00.250+08:00")
    1795483800250
    >>> epoch_ms("2016-12-31T23:59:60Z") == epoch_ms("2017-01-01T00:00:00Z")
    True
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("must be epoch ms or RFC 3339 with an offset, such as 2026-11-24T09:30:00+08:00")
    leap = match[1] == "60"
    if leap:  # a second that `datetime` does not know
        text = f"{text[: match.start(1)]}59{text[match.end(1) :]}"
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValueError("is not a time of the calendar") from None
    return (moment - _EPOCH) // _MILLISECOND + 1000 * leap


def _date_or_epoch_ms(text: str) -> int:
    return epoch_ms(f"{text}T00:00:00Z" if _FULL_DATE.fullmatch(text) else text)


@dataclass(frozen=True)
class _Instant:
    """Pydantic type of a time: whole epoch ms, or text that `read` turns into them."""

    earliest: int
    read: Callable[[str], int]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        bounded = core_schema.int_schema(ge=self.earliest, lt=LATEST_MS)
        text = core_schema.no_info_after_validator_function(
            self.read, core_schema.str_schema(max_length=MAX_ID)
        )
        # Numbers first: a payment with epoch ms never calls into Python.
        return core_schema.union_schema(
            [(bounded, "number"), (core_schema.chain_schema([text, bounded]), "text")], mode="left_to_right"
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> JsonSchemaValue:
        number = {"type": "integer", "minimum": self.earliest, "exclusiveMaximum": LATEST_MS}
        return {"anyOf": [number, {"type": "string", "format": "date-time"}]}


Id = Annotated[str, Field(min_length=1, max_length=MAX_ID)]
Label = Annotated[str, Field(min_length=1, max_length=MAX_ID)]
Prose = Annotated[str, Field(max_length=MAX_PROSE)]
Time = Annotated[int, _Instant(EARLIEST_MS, epoch_ms)]
Opened = Annotated[int, _Instant(EARLIEST_OPENED_MS, _date_or_epoch_ms)]
Kind = Literal["account", "merchant", "cash", "external"]
Currency = Annotated[str, Field(pattern="^[A-Z]{3}$")]
Amount = Annotated[float, Field(gt=0, lt=MAX_AMOUNT, allow_inf_nan=False)]
Balance = Annotated[float, Field(gt=-MAX_BALANCE, lt=MAX_BALANCE, allow_inf_nan=False)]
Latitude = Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
Longitude = Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]


@with_config(
    ConfigDict(
        strict=True,
        use_attribute_docstrings=True,
        # Ids hardly ever repeat within a batch: the parser's cache would only be overwritten.
        cache_strings="keys",
    )
)
class Transaction(TypedDict):
    """One payment. Money always goes from `account` to `counterparty`; `type` never flips the direction.

    A parsed one always has `currency`, `type` and `channel`, and `ts` as epoch ms; other optional fields
    may be absent or None.
    """

    event_id: Annotated[Id, Field(examples=["e-20261124-000017"])]
    """Id of the payment, 1-64 characters. The same id with the same content is a repeat."""
    ts: Annotated[Time, Field(examples=[1795483800250, "2026-11-24T09:30:00.250+08:00"])]
    """Event time: epoch ms, or RFC 3339 with an offset."""
    account: Annotated[Id, Field(examples=["6222020000000001"])]
    """Payer, 1-64 characters; also the record's key."""
    counterparty: Annotated[Id, Field(examples=["6222020000000002"])]
    """Payee, 1-64 characters."""
    amount: Annotated[Amount, Field(examples=[49_999.0])]
    """Amount in `currency`, above 0 and below 10^12."""
    currency: NotRequired[Annotated[Currency | None, Field(examples=["CNY"])]]
    """ISO 4217 code; the bank's base currency where absent."""
    type: NotRequired[Annotated[Label | None, Field(examples=["transfer"])]]
    """Type of the payment in the bank's words, 1-64 characters; `unknown` where absent."""
    channel: NotRequired[Annotated[Label | None, Field(examples=["mobile"])]]
    """Channel in the bank's words, 1-64 characters; `unknown` where absent."""
    payer_kind: NotRequired[Annotated[Kind | None, Field(examples=["account"])]]
    """What the payer is; only an account has a profile."""
    payee_kind: NotRequired[Annotated[Kind | None, Field(examples=["merchant"])]]
    """What the payee is; only an account has a profile."""
    payer_balance_before: NotRequired[Annotated[Balance | None, Field(examples=[51_200.5])]]
    """Payer's balance before the payment, in `currency`; negative when overdrawn."""
    payee_balance_before: NotRequired[Annotated[Balance | None, Field(examples=[0.0])]]
    """Payee's balance before the payment, in `currency`; negative when overdrawn."""
    device_id: NotRequired[Annotated[Id | None, Field(examples=["dev-8f2a"])]]
    """Device that ordered the payment, 1-64 characters."""
    ip: NotRequired[Annotated[Id | None, Field(examples=["203.0.113.7"])]]
    """Address that ordered the payment, 1-64 characters."""
    latitude: NotRequired[Annotated[Latitude | None, Field(examples=[31.23])]]
    """Where the payment was ordered, degrees north."""
    longitude: NotRequired[Annotated[Longitude | None, Field(examples=[121.47])]]
    """Where the payment was ordered, degrees east."""


class _Message(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", use_attribute_docstrings=True)

    def encode(self) -> bytes:
        """Value of the record, JSON."""
        return self.model_dump_json().encode()


class AccountUpdate(_Message):
    """Facts about an account. The newest `ts` wins, field by field; a field left out keeps its fact."""

    account: Annotated[Id, Field(examples=["6222020000000001"])]
    """The account, 1-64 characters; also the record's key."""
    ts: Annotated[Time, Field(examples=[1795483800250])]
    """When the facts became true: epoch ms, or RFC 3339 with an offset."""
    opened: Annotated[Opened | None, Field(examples=["2019-03-01"])] = None
    """When the account was opened: epoch ms, RFC 3339 with an offset, or a date (midnight UTC)."""
    holder_birth_year: Annotated[int, Field(ge=1880, le=2100, examples=[1954])] | None = None
    """The holder's year of birth."""
    kind: Annotated[Label | None, Field(examples=["personal"])] = None
    """Kind of account in the bank's words, 1-64 characters."""
    changed: Literal["phone", "password", "device", "address"] | None = None
    """Which of the holder's details changed at `ts`, if any did."""


class Disposition(_Message):
    """An investigator's outcome for a warning. The newest `ts` of a warning replaces earlier ones."""

    disposition_id: Annotated[Id, Field(examples=["d-20261124-0003"])]
    """Id of this disposition, 1-64 characters; the same one again is a duplicate and changes nothing."""
    warning_id: Annotated[Id, Field(examples=["5f0c2b7e9a1d4c38"])]
    """The warning, as its alerts name it."""
    account: Annotated[Id, Field(examples=["6222020000000002"])]
    """The warned account, 1-64 characters; also the record's key."""
    outcome: Outcome
    """What the investigation found."""
    role: Role | None = None
    """What the account was in the fraud; required for `confirmed`. Only a mule is listed by itself."""
    by: Annotated[Label, Field(examples=["investigator-7"])]
    """Who decided, 1-64 characters."""
    note: Annotated[Prose | None, Field(examples=["Called back: the holder knows nothing of it."])] = None
    """Anything the next reader should know, up to 4,000 characters."""
    ts: Annotated[Time, Field(examples=[1795487400000])]
    """When it was decided: epoch ms, or RFC 3339 with an offset."""

    @model_validator(mode="after")
    def _confirmed_names_a_role(self) -> Self:
        if self.outcome is Outcome.CONFIRMED and self.role is None:
            raise ValueError("role is required for the outcome confirmed: mule or victim")
        return self


class RiskSignal(_Message):
    """An account, device or address on a list.

    A record of the same key replaces it, a null value withdraws it.
    """

    kind: SignalKind
    """What `id` names."""
    id: Annotated[Id, Field(examples=["6222020000000002"])]
    """The account, device or address, 1-64 characters."""
    level: Annotated[int, Field(ge=1, le=100, examples=[90])]
    """How much the listing weighs, 1-100; the rules that name it decide what follows."""
    source: SignalSource
    """Who listed it."""
    reason: Annotated[Prose | None, Field(examples=["case 2026-0815"])] = None
    """Why, up to 4,000 characters."""
    valid_from: Annotated[Time | None, Field(examples=[1795483800250])] = None
    """First moment of the listing: epoch ms, or RFC 3339 with an offset; without one it has no beginning."""
    valid_to: Annotated[Time | None, Field(examples=["2027-11-24T00:00:00Z"])] = None
    """First moment after the listing: epoch ms, or RFC 3339 with an offset; without one it has no end."""

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.valid_from is not None and self.valid_to is not None and self.valid_to <= self.valid_from:
            raise ValueError("valid_to must be after valid_from")
        return self

    @property
    def key(self) -> bytes:
        """Key of the record.

        Examples
        --------
        >>> RiskSignal(kind=SignalKind.IP, id="2001:db8::7", level=50, source=SignalSource.BANK).key
        b'ip:2001:db8::7'
        """
        return f"{self.kind}:{self.id}".encode()


class Withdrawal(NamedTuple):
    """A risk signal taken back: its key came with a null value."""

    kind: SignalKind
    id: str
