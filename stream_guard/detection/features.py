"""The catalogue of features: the contract between what computes them and the rules that read them.

Names follow one grammar, ``side.direction_measure_window``: ``payer.out_count_24h``, ``payee.in_sum_7d``.

- Windows are half-open in event time, ``(t - w, t]``. ``count``, ``sum`` and ``distinct`` **include** the
  current payment (for the payer it is an ``out``, for the payee an ``in``); ``max``, ``mean``, ``std``,
  ``idle_s`` and ``pair.seen_before`` **exclude** it. A late payment sees only what is not after it.
- Money is in the bank's base currency. A missing value is NaN and never 0: a side that is no account has no
  figures, a maximum over no payments is missing; a count or a sum over none is 0.
- Figures come from this payment and the 64 newest others that the account's row remembers. Where more fall
  into a window they are **floors**: the true figure is at least the one given. For windows of 3 days or more
  ``count`` and ``sum`` are then raised to what the day buckets know: local days that lie inside as a whole.
- All-time figures (no window in the name) are over every payment counted before this one, whatever its time.
- Texts (``txn.type`` ...) are carried as `hashing.text_code` of the text, an exact float.
- A payment of an account to itself is two entries of its row, first ``out`` and then ``in``; each hop sees
  the entries made before it, so that in the second hop ``idle_s`` is 0.

The matrix of a batch has a row a payment and `N` columns: what the first hop computes (`FIRST`: payer block,
pair, txn), the payee's block (`PAYEE`), the risk signals (`SIGNALS`).
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Unit = Literal[
    "base", "count", "seconds", "days", "years", "hour", "weekday", "level", "code", "bool", "km", "km/h"
]
FeatureSide = Literal["payer", "payee", "pair", "txn"]
Kind = Literal["number", "text", "bool"]

MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

WINDOWS: Final[dict[str, int]] = {
    "10m": 10 * MINUTE,
    "1h": HOUR,
    "8h": 8 * HOUR,
    "24h": DAY,
    "3d": 3 * DAY,
    "5d": 5 * DAY,
    "7d": 7 * DAY,
    "30d": 30 * DAY,
}
"""Length of every window in milliseconds, in rising order."""

RING: Final = 64
"""Payments that an account's row remembers one by one."""

SIGNAL_SOURCES: Final = ("police", "bank", "disposition", "sharing")


class Feature(NamedTuple):
    """One column of the feature matrix.

    Attributes
    ----------
    name
        `side.rest`, as rules write it.
    unit
        ``base``: money in the bank's base currency; ``level``: a risk signal's, 0-100; ``code``: a text's.
    side
        What the figure is about.
    kind
        What a rule may compare it with.
    hop
        1: from the payer's partition; 2: from the payee's; 0: from the risk signals, in the second hop.
    window
        A key of `WINDOWS`, or None.
    meaning
        One sentence for people.
    """

    name: str
    unit: Unit
    side: FeatureSide
    kind: Kind
    hop: int
    window: str | None
    meaning: str


def _feature(side: FeatureSide, rest: str, unit: Unit, hop: int, meaning: str) -> Feature:
    kind: Kind = "text" if unit == "code" else "bool" if unit == "bool" else "number"
    last = rest.rpartition("_")[2]
    return Feature(f"{side}.{rest}", unit, side, kind, hop, last if last in WINDOWS else None, meaning)


_MEASURES: Final[tuple[tuple[str, Unit, str], ...]] = (
    ("count", "count", "payments {way} in the last {window}{included}"),
    ("sum", "base", "amount of payments {way} in the last {window}{included}"),
    ("max", "base", "largest earlier payment {way} in the last {window}; missing if there was none"),
    ("distinct", "count", "different {others} in the last {window}{included}"),
)

_EXTRAS: Final[tuple[tuple[str, Unit, str], ...]] = (
    ("out_mean", "base", "mean of all earlier payments out; missing if none"),
    ("out_std", "base", "sample standard deviation of all earlier payments out; missing below two"),
    ("out_max", "base", "largest earlier payment out; missing if none"),
    ("out_count", "count", "number of all earlier payments out"),
    ("in_mean", "base", "mean of all earlier payments in; missing if none"),
    ("in_std", "base", "sample standard deviation of all earlier payments in; missing below two"),
    ("in_max", "base", "largest earlier payment in; missing if none"),
    ("in_count", "count", "number of all earlier payments in"),
    ("idle_s", "seconds", "time since the account's last payment, in or out; missing if none is known"),
    ("first_seen_s", "seconds", "time since the account's first payment; missing if there was none before"),
    ("account_age_d", "days", "time since the account was opened; missing if unknown or opened later"),
    ("holder_age_y", "years", "local year of the payment less the holder's birth year; missing if unknown"),
    ("kind", "code", "kind of account, as the account updates say; missing if unknown"),
    ("changed_s", "seconds", "time since phone, password or device last changed; missing if never known to"),
    ("address_changed_s", "seconds", "time since the address last changed; missing if never known to"),
    (
        "out_night_max_90d",
        "base",
        "largest earlier payment out between 00:00 and 06:00 local in 90 days (kept in periods of 15 local "
        "days, so that the reach is 90 to 105 days); 0 if none",
    ),
    (
        "out_near_limit_count_30d",
        "count",
        "payments out within 1 % below a limit in 30 days, this one included",
    ),
    ("out_small_count_1h", "count", "small payments out in the last hour, this one included"),
    ("out_small_count_7d", "count", "small payments out in the last 7 days, this one included"),
    ("out_small_sum_7d", "base", "amount of small payments out in the last 7 days, this one included"),
    (
        "in_device_distinct_7d",
        "count",
        "different payers that paid it in the last 7d through this payment's device, this one included if it "
        "is paid; missing if the payment names no device",
    ),
    (
        "in_device_sum_7d",
        "base",
        "amount it was paid in the last 7d through this payment's device, this one included if it is paid; "
        "missing if the payment names no device",
    ),
    (
        "balance_mean",
        "base",
        "mean balance over time: each balance before a payment, this one's too, counts for the time since "
        "the payment before; missing until two of different times are known",
    ),
    (
        "tainted",
        "base",
        "what the account holds of money that left listed accounts: the payer before this payment, the payee "
        "with it",
    ),
)

PAIR_WINDOWS: Final = ("24h", "5d", "7d", "30d")

_TXN: Final[tuple[tuple[str, Unit, str], ...]] = (
    ("amount", "base", "amount of the payment"),
    ("hour", "hour", "local time of day with fraction, 0 to below 24"),
    ("weekday", "weekday", "local day of the week, Monday = 0"),
    ("night", "bool", "local time is from 00:00 to before 06:00"),
    ("type", "code", "type of the payment"),
    ("channel", "code", "channel of the payment"),
    ("currency", "code", "currency of the payment"),
    ("payer_balance_before", "base", "payer's balance before the payment; missing if not given"),
    ("payee_balance_before", "base", "payee's balance before the payment; missing if not given"),
    ("payer_is_account", "bool", "the payer is an account, not a merchant, cash or an external party"),
    ("payee_is_account", "bool", "the payee is an account, not a merchant, cash or an external party"),
    ("tainted", "base", "part of the amount that left listed accounts, at most 3 payments ago; 0 if none"),
    (
        "taint_hops",
        "count",
        "payments since the tainted part left listed accounts, this one included, 1 to 3; where its parts "
        "differ their mean by amount; missing if nothing is tainted",
    ),
    ("travel_km", "km", "distance from the payer's last payment with a place; missing without two places"),
    ("travel_kmh", "km/h", "speed that this distance needs; missing without two places"),
)


def _account(side: Literal["payer", "payee"], hop: int) -> list[Feature]:
    out = []
    for way, others in (("in", "payers it was paid by"), ("out", "payees it paid")):
        included = ", this one included" if (way == "out") == (side == "payer") else ""
        for measure, unit, text in _MEASURES:
            for window in WINDOWS:
                meaning = text.format(way=way, others=others, window=window, included=included)
                out.append(_feature(side, f"{way}_{measure}_{window}", unit, hop, meaning))
    return out + [_feature(side, rest, unit, hop, meaning) for rest, unit, meaning in _EXTRAS]


def _pair() -> list[Feature]:
    seen = "the payer has paid this payee before, as far as its last 64 payments know"
    out = [_feature("pair", "seen_before", "bool", 1, seen)]
    for way, whom in (("out", "payer to payee, this one included"), ("in", "payee to payer")):
        for window in PAIR_WINDOWS:
            meaning = f"payments in the last {window} from {whom}"
            out.append(_feature("pair", f"{way}_count_{window}", "count", 1, meaning))
        for window in PAIR_WINDOWS:
            meaning = f"amount of payments in the last {window} from {whom}"
            out.append(_feature("pair", f"{way}_sum_{window}", "base", 1, meaning))
    similar = "payments payer to payee in 5 days within 10 % of this one's amount, this one included"
    out.append(_feature("pair", "out_similar_count_5d", "count", 1, similar))
    smallest = "smallest earlier payment payer to payee in the last 24h; missing if there was none"
    out.append(_feature("pair", "out_min_24h", "base", 1, smallest))
    return out


_SIGNAL_MEANING: Final = {
    "sharing": "level at which the {side} is among accounts opened lately behind one device or address"
}


def _signals() -> list[Feature]:
    out = []
    sides: tuple[FeatureSide, ...] = ("payer", "payee")
    for side in sides:
        for source in SIGNAL_SOURCES:
            meaning = _SIGNAL_MEANING.get(source, f"level of the {{side}}'s risk signal from source {source}")
            meaning = f"{meaning.format(side=side)}; 0 = not listed"
            out.append(_feature(side, f"listed_{source}", "level", 0, meaning))
        meaning = f"highest level of the {side}'s signals from police, bank or disposition; 0 = not listed"
        out.append(_feature(side, "listed", "level", 0, meaning))
    for what, word in (("device", "device"), ("ip", "IP address")):
        meaning = f"highest level of the payment's {word} from police, bank or disposition; 0 = not listed"
        out.append(_feature("txn", f"{what}_listed", "level", 0, meaning))
        meaning = f"level at which accounts share the payment's {word}; 0 = few do, or a public lot"
        out.append(_feature("txn", f"{what}_shared", "level", 0, meaning))
    return out


_PAYER_BLOCK = _account("payer", 1)
_PAIR_BLOCK = _pair()
_TXN_BLOCK = [_feature("txn", rest, unit, 1, meaning) for rest, unit, meaning in _TXN]
_PAYEE_BLOCK = _account("payee", 2)
_SIGNAL_BLOCK = _signals()

FEATURES: Final[tuple[Feature, ...]] = (
    *_PAYER_BLOCK,
    *_PAIR_BLOCK,
    *_TXN_BLOCK,
    *_PAYEE_BLOCK,
    *_SIGNAL_BLOCK,
)
"""Every feature, in the order of the matrix's columns."""

INDEX: Final[dict[str, int]] = {feature.name: column for column, feature in enumerate(FEATURES)}
"""Column of a feature's name.

Examples
--------
>>> FEATURES[INDEX["payer.out_count_24h"]].unit
'count'
"""

N: Final = len(FEATURES)
"""Number of columns."""

ACCOUNT_WIDTH: Final = len(_PAYER_BLOCK)
"""Columns of one side's account block."""

PAYER: Final = slice(0, ACCOUNT_WIDTH)
PAIR: Final = slice(PAYER.stop, PAYER.stop + len(_PAIR_BLOCK))
TXN: Final = slice(PAIR.stop, PAIR.stop + len(_TXN_BLOCK))
FIRST: Final = slice(0, TXN.stop)
"""What the first hop computes, and a leg carries."""
PAYEE: Final = slice(FIRST.stop, FIRST.stop + ACCOUNT_WIDTH)
SIGNALS: Final = slice(PAYEE.stop, N)

FIRST_WIDTH: Final = FIRST.stop

CARRIED: Final = ("txn.payee_balance_before", "txn.tainted", "txn.taint_hops")
"""First-hop features that the second hop counts by: legs carry them whatever the rules name."""

SHARED: Final = [
    INDEX[name]
    for name in ("payer.listed_sharing", "payee.listed_sharing", "txn.device_shared", "txn.ip_shared")
]
"""Columns of what follows from shared devices and addresses."""
