"""What detection must know about the bank it runs for."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from stream_guard.detection.features import DAY
from stream_guard.detection.hashing import joined
from stream_guard.detection.local_time import offsets

_WILD: Final = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Bank:
    """Money, time, parties and partitions of one bank.

    Parameters
    ----------
    base_currency
        Currency of every feature.
    timezone
        IANA name; gives night, weekday and the local days of the profiles.
    rates
        Base currency per unit of another currency. The base itself is 1.
    not_accounts
        Glob patterns of ids that are no account (a till, cash, an external party): they have no profile.
    limits
        Reporting or authentication limits in base currency (typologies 9: 4,999; 49,999; 199,999 stay below).
    small_amount
        Payments up to this amount count as small (typology 5: at most 500).
    partitions
        Partition count of every keyed topic.
    future_ms
        How far ahead of the wall clock an event may be.
    horizon_ms
        How far behind the payer's newest event an event may be; as long as the day buckets reach.

    Raises
    ------
    ValueError
        If a value makes no sense; the sentence names it.

    Examples
    --------
    >>> Bank(rates={"USD": 7.1}).rate_of("USD"), Bank().rate_of("CNY"), Bank().rate_of("EUR")
    (7.1, 1.0, None)
    """

    base_currency: str = "CNY"
    timezone: str = "Asia/Shanghai"
    rates: Mapping[str, float] = field(default_factory=dict)
    not_accounts: tuple[str, ...] = ("EXT_*",)
    limits: tuple[float, ...] = (5_000.0, 50_000.0, 200_000.0)
    small_amount: float = 500.0
    partitions: int = 1
    future_ms: int = 300_000
    horizon_ms: int = 31 * DAY

    def __post_init__(self) -> None:
        if self.partitions < 1:
            raise ValueError(f"bank.partitions is {self.partitions}; give the keyed topics' partition count")
        if self.rates.get(self.base_currency, 1.0) != 1.0:
            raise ValueError(f"bank.rates gives the base currency {self.base_currency} a rate other than 1")
        for name, value in (*self.rates.items(), ("small_amount", self.small_amount)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"bank: {name} is {value}; it must be a number above 0")
        if not all(math.isfinite(limit) and limit > 0 for limit in self.limits):
            raise ValueError(f"bank.limits is {self.limits}; every limit must be a number above 0")
        if self.future_ms < 0 or self.horizon_ms < 0:
            raise ValueError("bank.future_ms and bank.horizon_ms must not be negative")
        offsets(self.timezone)

    def rate_of(self, currency: str) -> float | None:
        """Base currency per unit of `currency`; None if the bank does not know it."""
        return 1.0 if currency == self.base_currency else self.rates.get(currency)

    def is_account(self, party: str, kind: str | None = None) -> bool:
        """Whether a party has a profile: not by its kind, nor by a pattern, something else than an account.

        Examples
        --------
        >>> bank = Bank()
        >>> bank.is_account("A1"), bank.is_account("EXT_SINK"), bank.is_account("T1", "merchant")
        (True, False, False)
        """
        if kind is not None and kind != "account":
            return False
        prefix = any(party.startswith(text.decode()) for text in self.outside_prefixes)
        return not prefix and (self.outside_pattern is None or self.outside_pattern.match(party) is None)

    @cached_property
    def outside_prefixes(self) -> tuple[bytes, ...]:
        """Texts of the patterns ``TEXT*``: these are matched without a Python call an event."""
        plain = [p[:-1] for p in self.not_accounts if p.endswith("*") and not _WILD.search(p[:-1])]
        return tuple(text.encode() for text in sorted(set(plain)))

    @cached_property
    def outside_pattern(self) -> re.Pattern[str] | None:
        """All other patterns as one expression, or None."""
        others = [p for p in self.not_accounts if not (p.endswith("*") and not _WILD.search(p[:-1]))]
        return re.compile("|".join(translate(p) for p in sorted(set(others)))) if others else None

    @cached_property
    def prefix_columns(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """`outside_prefixes` as a kernel takes them."""
        return joined(self.outside_prefixes)

    def routing_hash(self) -> str:
        """Hash of everything that decides which partition a record belongs to.

        Rows stored under one hash must not be read under another: a leg would meet another partition's rows.

        Examples
        --------
        >>> Bank().routing_hash() == Bank(timezone="UTC").routing_hash()
        True
        >>> Bank().routing_hash() == Bank(partitions=12).routing_hash()
        False
        """
        routing = [self.partitions, "murmur2", sorted(set(self.not_accounts))]
        return hashlib.sha256(json.dumps(routing).encode()).hexdigest()[:16]
