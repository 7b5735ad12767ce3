"""Devices and addresses that act for several accounts: who used which, and what follows from it.

A *sighting* says that an account paid through a device or from an address on a local day. It is counted where
the device's own key belongs, off the decision path, and what is found comes back as risk signals: about the
device or address (typology 15), and about accounts opened one soon after the other behind the same one
(typology 21).

Uses are counted by local day, so that "7 days" are today and the six days before. What is kept of a device is
its accounts with the newest day of each: a sighting that comes twice, or late, changes nothing it should not,
and counting anew from the same sightings ends in the same state.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from stream_guard.detection.features import DAY
from stream_guard.detection.signals import Signal
from stream_guard.detection.vocabulary import SignalKind, SignalSource
from stream_guard.versions import upgraded

SHORT_DAYS: Final = 7
LONG_DAYS: Final = 30
"""The two windows of typology 15, local days; uses older than the longer one are forgotten."""

LOWEST_LEVEL: Final = 50
"""Level at the threshold; with more accounts it rises towards 100 and never gets there."""

VERSION: Final = 1
"""Of what is stored of a device: accounts with their newest day and opening, signals in force."""

_NEVER: Final = -(1 << 40)

_MIX: Final = np.random.default_rng(0).integers(1 << 63, size=5, dtype=np.uint64) * 2 + 1
"""Odd numbers, as good as any."""


@dataclass(frozen=True)
class SharingLimits:
    """From when on accounts that share something are too many.

    Attributes
    ----------
    accounts_7d, accounts_30d
        Accounts that one device or address acts for in 7, in 30 days (typology 15).
    opened, opened_days
        So many accounts behind one device or address that were opened within so many days (typology 21).
    crowd
        More accounts in 30 days than this make it a public one (a branch, a carrier's address): no signal.
    """

    accounts_7d: int = 3
    accounts_30d: int = 5
    opened: int = 3
    opened_days: int = 30
    crowd: int = 50


class Use(NamedTuple):
    """The payment `at` a place of its batch used what its payer was not known to use that day."""

    at: int
    kind: SignalKind
    day: int
    opened: int | None


class Sighting(NamedTuple):
    """An account used a device or an address.

    Attributes
    ----------
    key
        ``device:ID`` or ``ip:ID``.
    account
        Who paid.
    ts, day
        Event time, ms, and its bank-local day.
    opened
        Bank-local day of the account's opening; None: not known.
    """

    key: str
    account: str
    ts: int
    day: int
    opened: int | None


class Raised(NamedTuple):
    """A risk signal to write under `key`; without one, what stands there is withdrawn."""

    key: str
    signal: Signal | None
    reason: str = ""


class NewUses:
    """Tells which uses of a batch are new for their day: of those told before, nothing would follow.

    What it remembers is a saving and no state: after a restart everything of the day is told once more. Uses
    are remembered by a 64-bit hash.
    """

    def __init__(self) -> None:
        self._day = _NEVER
        self._told: set[int] = set()

    def of(
        self,
        device: npt.NDArray[np.uint64],
        ip: npt.NDArray[np.uint64],
        payer: npt.NDArray[np.uint64],
        local: npt.NDArray[np.int64],
        age_d: npt.NDArray[np.float64],
        counted: npt.NDArray[np.bool_],
    ) -> list[Use]:
        """Uses by payments that are `counted`, in order.

        Parameters
        ----------
        device, ip, payer
            Hashes of n payments; 0: none.
        local
            Event times shifted to the bank's zone, ms.
        age_d
            Days since the payer's account was opened, NaN where that is not known.
        counted
            Counted at a payer that is an account.
        """
        at = np.flatnonzero(counted & ((device != 0) | (ip != 0)))
        if not len(at):
            return []
        local = local[at]
        day = local // DAY
        newest = int(day.max())
        if newest > self._day:
            self._day = newest
            self._told.clear()
        opened = np.floor(local / DAY - age_d[at])
        unknown = np.isnan(opened)
        born = np.where(unknown, _NEVER, opened).astype(np.int64)
        who = payer[at] * _MIX[0] + day.view(np.uint64) * _MIX[1] + born.view(np.uint64) * _MIX[2]
        told = self._told
        fresh: list[tuple[int, SignalKind]] = []
        for kind, used, mix in ((SignalKind.DEVICE, device[at], _MIX[3]), (SignalKind.IP, ip[at], _MIX[4])):
            some = np.flatnonzero(used)
            marks = (used * mix ^ who)[some]
            for place, mark in zip(some.tolist(), marks.tolist(), strict=True):
                if mark not in told:
                    told.add(mark)
                    fresh.append((place, kind))
        fresh.sort()
        places = [place for place, _ in fresh]
        columns = (at[places], day[places], born[places], unknown[places])
        rows = zip(fresh, *(column.tolist() for column in columns), strict=True)
        return [Use(i, kind, on, None if nobody_knows else b) for (_, kind), i, on, b, nobody_knows in rows]


class Sharing:
    """Who used which device or address; one partition of them.

    Parameters
    ----------
    limits
        When it is too many.
    midnight
        Epoch ms at which a bank-local day begins.

    Examples
    --------
    >>> sharing = Sharing(SharingLimits(), lambda day: day * 86_400_000)
    >>> seen = [sharing.see(Sighting("device:d", name, 0, 0, None)) for name in ("A", "B", "B", "C")]
    >>> [len(raised) for raised in seen], seen[3][0].signal.level, seen[3][0].reason
    ([0, 0, 0, 1], 50, '3 accounts in 7 days, 3 in 30')
    """

    def __init__(self, limits: SharingLimits, midnight: Callable[[int], int]) -> None:
        self._limits = limits
        self._midnight = midnight
        # Below it there is nothing to judge, and nearly all have one account.
        self._fewest = min(limits.accounts_7d, limits.accounts_30d, limits.opened)
        # As stored: a device that one account uses, as nearly all are, then takes 300 bytes.
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._dirty: set[str] = set()
        self._today = _NEVER

    def __len__(self) -> int:
        return len(self._kept)

    def see(self, sighting: Sighting) -> list[Raised]:
        """Count a sighting; the signals that change by it."""
        key, account, ts, day, opened = sighting
        raised = self._forget(day) if day > self._today else []
        stored = self._kept.get(key)
        uses: dict[str, list[Any]]
        signals: dict[str, list[int]]
        _, uses, signals = (VERSION, {}, {}) if stored is None else orjson.loads(stored)
        known = uses.get(account)
        if known is not None and known[0] >= day and (opened is None or known[1] is not None):
            return raised
        if known is not None:
            opened = known[1] if opened is None else opened
            day = max(day, known[0])
        uses[account] = [day, opened]
        if len(uses) >= self._fewest or signals:
            newest = max(use[0] for use in uses.values())
            uses = self._newest(uses, newest)
            raised += self._judge(key, uses, signals, newest, max(ts, self._midnight(newest)))
        self._kept[key] = orjson.dumps([VERSION, uses, signals])
        self._kept.move_to_end(key)
        self._dirty.add(key)
        return raised

    def _newest(self, uses: dict[str, list[Any]], newest: int) -> dict[str, list[Any]]:
        """The uses that still count; of a crowd as many as it takes to know that it is one."""
        uses = {name: use for name, use in uses.items() if use[0] > newest - LONG_DAYS}
        if len(uses) <= self._limits.crowd + 1:
            return uses
        oldest = min(uses, key=lambda name: (uses[name][0], name))
        return {name: use for name, use in uses.items() if name != oldest}

    def _judge(
        self,
        key: str,
        uses: dict[str, list[Any]],
        signals: dict[str, list[int]],
        newest: int,
        since: int,
    ) -> list[Raised]:
        raised = []
        wanted = {} if len(uses) > self._limits.crowd else self._wanted(key, uses, newest)
        for name, (level, until, reason) in wanted.items():
            old = signals.get(name)
            begun = since if old is None or old[2] <= newest else old[1]
            if old == [level, begun, until]:
                continue
            signals[name] = [level, begun, until]
            kind, _, id_ = name.partition(":")
            signal = Signal(SignalKind(kind), id_, level, SignalSource.SHARING, begun, self._midnight(until))
            raised.append(Raised(name, signal, reason))
        for name in [name for name in signals if name not in wanted]:
            if name == key:
                # It has become a crowd, or run out. What is said of accounts runs out by itself: another
                # device may have said the same.
                raised.append(Raised(key, None))
            if name == key or signals[name][2] <= newest:
                del signals[name]
        return raised

    def _wanted(self, key: str, uses: dict[str, list[Any]], newest: int) -> dict[str, tuple[int, int, str]]:
        """Level, first day after it and reason of every signal that should be in force."""
        limits = self._limits
        wanted: dict[str, tuple[int, int, str]] = {}
        days = sorted((use[0] for use in uses.values()), reverse=True)
        counts, levels, untils = [], [], []
        for least, window in ((limits.accounts_7d, SHORT_DAYS), (limits.accounts_30d, LONG_DAYS)):
            counts.append(sum(day > newest - window for day in days))
            if counts[-1] >= least:
                levels.append(_level(counts[-1], least))
                untils.append(days[least - 1] + window)
        if levels:
            reason = f"{counts[0]} accounts in {SHORT_DAYS} days, {counts[1]} in {LONG_DAYS}"
            wanted[key] = max(levels), max(untils), reason
        young = {
            name: use[1]
            for name, use in uses.items()
            if use[1] is not None and newest - limits.opened_days < use[1] <= newest
        }
        if len(young) >= limits.opened:
            opened = sorted(young.values(), reverse=True)[limits.opened - 1] + limits.opened_days
            used = sorted((uses[name][0] for name in young), reverse=True)[limits.opened - 1] + LONG_DAYS
            reason = f"one of {len(young)} accounts behind {key} opened within {limits.opened_days} days"
            level = _level(len(young), limits.opened)
            for name in young:
                wanted[f"{SignalKind.ACCOUNT}:{name}"] = level, min(opened, used), reason
        return wanted

    def _forget(self, today: int) -> list[Raised]:
        """Drop what nobody has used within the longer window; its signals have run out."""
        self._today = today
        gone = []
        for key, stored in self._kept.items():
            _, uses, signals = orjson.loads(stored)
            if max(use[0] for use in uses.values()) > today - LONG_DAYS:
                break
            gone.append((key, signals))
        for key, _ in gone:
            del self._kept[key]
            self._dirty.add(key)
        return [Raised(key, None) for key, signals in gone if key in signals]

    def take_dirty(self) -> list[tuple[bytes, bytes | None]]:
        """What changed since the last call, by key; None: it was forgotten."""
        items = [(key.encode(), self._kept.get(key)) for key in sorted(self._dirty)]
        self._dirty.clear()
        return items

    def keys(self) -> list[str]:
        """Devices and addresses remembered, the one unused for longest first."""
        return list(self._kept)

    def stored(self, keys: Iterable[str]) -> list[tuple[bytes, bytes]]:
        """What is remembered of some now, as `take_dirty` gives it; nothing of others."""
        return [(key.encode(), self._kept[key]) for key in keys if key in self._kept]

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Put back what `take_dirty` gave; it is not dirty then.

        Raises
        ------
        ValueError
            Another release wrote it, one that this one does not read.
        """
        for key, stored in items:
            record = orjson.loads(stored)
            _, uses, _ = upgraded(record, record[0], VERSION, {}, "shared devices")
            self._today = max(self._today, *(use[0] for use in uses.values()))
            self._kept[key.decode()] = stored


def _level(count: int, least: int) -> int:
    """Level of a signal about `count` accounts where `least` are too many.

    Examples
    --------
    >>> [_level(count, 3) for count in (3, 4, 6, 50)]
    [50, 62, 75, 97]
    """
    return round(100 - (100 - LOWEST_LEVEL) * least / count)
