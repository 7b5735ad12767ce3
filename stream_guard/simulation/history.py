"""Months of a bank's past: the cast chosen, the episodes placed, everyday life around them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import orjson

from stream_guard.detection.vocabulary import Role
from stream_guard.simulation.bank import Bank, found
from stream_guard.simulation.calendar import DAY_MS, HOUR_MS, local_hour, night_before
from stream_guard.simulation.habits import ordinary_days
from stream_guard.simulation.ledger import (
    CHANNELS,
    TYPES,
    Floats,
    Ledger,
    concatenate,
    everyday,
    in_order,
    message,
    payments,
    take,
    with_balances,
    with_places,
)
from stream_guard.simulation.scene import QUIET_DAYS, Cast, Episode, Truth
from stream_guard.simulation.typologies import HISTORY_DAYS, LOOK_ALIKES, TYPOLOGIES

DEFAULT_ZONE = ZoneInfo("Asia/Shanghai")

NEEDS_OTHER_TOPICS = frozenset(
    {"details-changed", "new-telephone", "listed-counterparty", "tainted-funds", "cleared"}
)
"""Plays whose trigger comes on the topics of account updates and risk signals, which a file has not."""

MONTH_DAYS = 31.0
"""History a play needs before it at the least: the longest window of the features is 30 days."""


@dataclass(frozen=True, slots=True)
class Placed:
    """An episode and when it starts (epoch milliseconds); its number is the ``group`` of its payments."""

    episode: Episode
    start_ms: int
    group: int


@dataclass(frozen=True, slots=True)
class History:
    """A bank, its past, and who is going to play in its future.

    Attributes
    ----------
    bank
        Everybody.
    ledger
        Payments in order of event time, with balances.
    event_ids
        One a payment.
    balances
        Of every row of the bank, at the end.
    episodes
        Played within the history.
    cast
        Episodes prepared for a live stream: their accounts have their past in the ledger. Not played yet.
    truth
        What each account was in the fraud it took part in, or will take part in, by account id.
    start_ms, end_ms
        Span, epoch milliseconds.
    zone
        The bank's time zone.
    run
        Prefix of the event ids.
    """

    bank: Bank
    ledger: Ledger
    event_ids: list[str]
    balances: Floats
    episodes: list[Placed]
    cast: list[Placed]
    truth: dict[str, Truth]
    start_ms: int
    end_ms: int
    zone: ZoneInfo
    run: str

    def __len__(self) -> int:
        return len(self.event_ids)

    def transactions(self) -> Iterator[dict[str, Any]]:
        """The payments as transactions of the contract, in order, without labels."""
        names, parties = self.bank.names.tolist(), self.bank.party.tolist()
        for event_id, payment in zip(self.event_ids, payments(self.ledger), strict=True):
            yield message(payment, event_id, names, parties)

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """Key and JSON value of every transaction, in order."""
        for transaction in self.transactions():
            yield transaction["account"].encode(), orjson.dumps(transaction)

    def account_updates(self) -> Iterator[dict[str, Any]]:
        """One update an account with its opening, the holder's birth year and its kind."""
        for row in self.bank.accounts.tolist():
            facts = self.bank.facts(row)
            yield {**facts, "ts": max(self.start_ms, facts["opened"]), "changed": None}


def generate(
    seed: int,
    end_ms: int,
    *,
    days: float = 200.0,
    accounts: int = 2_000,
    repeats: int = 0,
    live: Sequence[str] = (),
    activity: float = 1.0,
    zone: ZoneInfo = DEFAULT_ZONE,
    only_payments: bool = False,
) -> History:
    """Simulate a bank's past.

    Parameters
    ----------
    seed
        The same arguments give the same bank, byte for byte.
    end_ms
        Where the history ends, epoch milliseconds (a live stream would pass the wall clock).
    days
        How long it is. Plays that need more of a past than there is are left out.
    accounts
        Persons with an account; shops and companies come on top.
    repeats
        How often each typology and each look-alike is played within the history.
    live
        Names of plays to prepare for a live stream after the history, in order.
    activity
        Factor on how often people buy things.
    zone
        The bank's time zone.
    only_payments
        Leave out plays whose trigger comes on another topic than the payments.

    Raises
    ------
    ValueError
        Too few accounts for the plays asked for, no account, or no day.

    Examples
    --------
    >>> history = generate(7, 1_700_000_000_000, days=40, accounts=100)
    >>> len(history) > 1_000, history.ledger.fraud.sum() == 0
    (True, np.True_)
    """
    if days <= 0:
        raise ValueError(f"a history needs a positive number of days, not {days}")
    start_ms = end_ms - round(days * DAY_MS)
    year = datetime.fromtimestamp(end_ms / 1000, zone).year
    rngs = np.random.default_rng(seed).spawn(3)
    bank = found(accounts, start_ms, year, rngs[0])
    episodes = _stage(bank, start_ms, end_ms, repeats, year, zone, only_payments, rngs[1])
    cast = [
        Placed(_play(name)(Cast(bank, end_ms, year, rngs[1])), end_ms, len(episodes) + 1 + n)
        for n, name in enumerate(live)
    ]
    habits = ordinary_days(bank, start_ms, end_ms, zone, rngs[2], activity)
    parts = [habits, *map(_steps, episodes), *(_past(placed) for placed in [*episodes, *cast])]
    ledger = in_order(concatenate(parts))
    # What an episode needed before it may lie before the recorded history: then nobody has seen it.
    ledger = take(ledger, ledger.ts >= start_ms)
    ledger, balances = with_balances(with_places(ledger, bank), bank)
    run = f"s{seed}-{end_ms // 1000:x}"
    return History(
        bank=bank,
        ledger=ledger,
        event_ids=[f"{run}-{n:07d}" for n in range(1, len(ledger.ts) + 1)],
        balances=balances,
        episodes=episodes,
        cast=cast,
        truth={
            str(bank.names[row]): Truth(placed.episode.typology, role, placed.group)
            for placed in [*episodes, *cast]
            for row, role in placed.episode.roles.items()
        },
        start_ms=start_ms,
        end_ms=end_ms,
        zone=zone,
        run=run,
    )


def _play(name: str) -> Any:
    if name in TYPOLOGIES:
        return TYPOLOGIES[name][1]
    if name in LOOK_ALIKES:
        return LOOK_ALIKES[name]
    raise ValueError(f"no play is called {name!r}; there are {', '.join([*TYPOLOGIES, *LOOK_ALIKES])}")


def _stage(
    bank: Bank,
    start_ms: int,
    end_ms: int,
    repeats: int,
    year: int,
    zone: ZoneInfo,
    only_payments: bool,
    rng: np.random.Generator,
) -> list[Placed]:
    staged: list[Placed] = []
    names = [
        name for name in [*TYPOLOGIES, *LOOK_ALIKES] if not (only_payments and name in NEEDS_OTHER_TOPICS)
    ]
    for name in names * repeats:
        earliest = start_ms + (HISTORY_DAYS.get(name, MONTH_DAYS) + 1) * DAY_MS
        latest = end_ms - 8 * DAY_MS
        if earliest >= latest:
            continue
        moment = round(rng.uniform(earliest, latest))
        # By day: between nine and nine.
        moment += round((9 + rng.uniform(0, 12) - local_hour(moment, zone)) * HOUR_MS)
        episode = _play(name)(Cast(bank, moment, year, rng))
        if episode.at_night:
            moment = night_before(moment, rng.uniform(), zone)
        for row in {party for step in episode.steps for party in (step.payer, step.payee)}:
            if bank.reserved[row] and episode.roles.get(row) is not Role.MULE:
                bank.active_again[row] = moment + round(episode.length_s * 1000) + QUIET_DAYS * DAY_MS
        staged.append(Placed(episode, moment, len(staged) + 1))
    return staged


def _steps(placed: Placed) -> Ledger:
    steps, episode = placed.episode.steps, placed.episode
    ledger = everyday(
        np.array([placed.start_ms + round(step.at_s * 1000) for step in steps], np.int64),
        np.array([step.payer for step in steps]),
        np.array([step.payee for step in steps]),
        np.array([step.amount for step in steps]),
        "transfer",
        np.array([CHANNELS.index(step.channel) for step in steps], np.uint8),
    )
    return ledger._replace(
        amount=np.array([step.amount for step in steps]),
        type=np.array([TYPES.index(step.type) for step in steps], np.uint8),
        payer_balance=np.array([step.payer_balance for step in steps]),
        device=np.array([step.device for step in steps], np.int32),
        address=np.array([step.address for step in steps], np.int32),
        latitude=np.array([step.place[0] for step in steps]),
        longitude=np.array([step.place[1] for step in steps]),
        group=np.full(len(steps), placed.group, np.int32),
        fraud=np.full(len(steps), int(episode.fraud), np.uint8),
    )


def _past(placed: Placed) -> Ledger:
    past = placed.episode.past
    return everyday(
        np.array([placed.start_ms - round(payment.days_before * DAY_MS) for payment in past], np.int64),
        np.array([payment.payer for payment in past], np.int32),
        np.array([payment.payee for payment in past], np.int32),
        np.array([payment.amount for payment in past], np.float64),
        "transfer",
        "mobile",
    )
