"""The bank live: what it sends at each moment, once time has reached the end of the history.

Nothing here reads a clock or sleeps. :meth:`Live.due` is told the time and answers with the records that are
due by then, so that a test lives a minute in a millisecond.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
import orjson

from stream_guard.simulation.bad_records import bad_records
from stream_guard.simulation.bank import Party, extend
from stream_guard.simulation.calendar import local_hour, night_before
from stream_guard.simulation.habits import live_payments
from stream_guard.simulation.history import History, Placed
from stream_guard.simulation.ledger import CHANNELS, TYPES, Payment, message, payments, with_places
from stream_guard.simulation.scene import Change, Listing, Step
from stream_guard.simulation.typologies import LOOK_ALIKES, TYPOLOGIES

FIRST_ROUND_S = 9.0
"""Every play has started by then; the longest takes eight waves more."""

WAVE_S = 1.0
"""Between one wave of an episode and the next: long enough for both hops of the first to be over."""

LEAD_S = 1.5
"""From an account update or a listing to the payments that need it: a second is what the contract asks."""

PAUSE_S = 1.5
"""Between later episodes, at the least."""

MOST_LATER = 160
"""Episodes after the first round, at the most: they need accounts with a past."""

FRAUDS_IN_TEN = 6
CHUNK = 2_000
COVER = 1.6
"""A payer has at least this many times the amount, so that only a drain looks like one."""
DAY_STARTS, DAY_ENDS = 6, 23
RESENT_EVERY = 500
RESENT_AFTER_MS = 400
CUSTOMERS_A_PAYMENT = 0.7
MOST_CUSTOMERS = 60_000


class Topic(StrEnum):
    """Which of the bank's topics a record is for."""

    TRANSACTIONS = "transactions"
    ACCOUNT_UPDATES = "account_updates"
    RISK_SIGNALS = "risk_signals"


class Record(NamedTuple):
    """A record to send.

    Attributes
    ----------
    topic
        Where to.
    key, value
        As on the wire.
    event_id
        Of a good transaction; None for everything else, and for a record that has to be refused.
    repeat
        The transaction was sent before, with the same content.
    bad
        It has to end up as a dead letter.
    """

    topic: Topic
    key: bytes
    value: bytes
    event_id: str | None = None
    repeat: bool = False
    bad: bool = False


def programme(seconds: float, seed: int) -> list[tuple[float, str]]:
    """Start (seconds into the live stream) and name of every episode of a stream of `seconds`.

    Every typology and every look-alike within the first :data:`FIRST_ROUND_S`, the longest first; then
    a mixture, six frauds to four look-alikes, as long as there is time to finish them.

    Examples
    --------
    >>> first_round = programme(20, 1)
    >>> {name for _, name in first_round} == {*TYPOLOGIES, *LOOK_ALIKES}
    True
    """
    rng = np.random.default_rng([seed, 1])
    # The one with eight waves opens.
    names = [
        "two-way-churning",
        *(name for name in [*TYPOLOGIES, *LOOK_ALIKES] if name != "two-way-churning"),
    ]
    plays = [(n * FIRST_ROUND_S / len(names), name) for n, name in enumerate(names)]
    pause = max(PAUSE_S, (seconds - FIRST_ROUND_S) / MOST_LATER)
    moment = FIRST_ROUND_S + pause
    while moment < seconds - 8.0:
        pool = list(TYPOLOGIES) if rng.integers(10) < FRAUDS_IN_TEN else list(LOOK_ALIKES)
        plays.append((moment, pool[int(rng.integers(len(pool)))]))
        moment += pause
    return plays


def accounts_needed(plays: Sequence[tuple[float, str]]) -> int:
    """Persons that a bank should have, so that each play finds its cast and a crowd is left around them."""
    return 600 + 5 * len(plays)


class Live:
    """The live stream of a bank.

    Parameters
    ----------
    history
        Generated with the names of `plays`, in their order, as ``live``.
    plays
        From :func:`programme`.
    rate
        Everyday payments a second.
    seconds
        How long it is going to be; decides how many customers there are.
    start_ms
        When it starts, epoch milliseconds.
    seed
        For everything that happens in it.
    bad
        Whether to send some bad records, too.

    Raises
    ------
    ValueError
        `history` was not generated for these plays.
    """

    def __init__(
        self,
        history: History,
        plays: Sequence[tuple[float, str]],
        *,
        rate: float,
        seconds: float,
        start_ms: int,
        seed: int,
        bad: bool = False,
    ) -> None:
        if [name for _, name in plays] != [placed.episode.typology for placed in history.cast]:
            raise ValueError("the history was not generated with the names of these plays as `live`")
        self._rng = np.random.default_rng([seed, 2])
        strangers = min(MOST_CUSTOMERS, int(rate * seconds * CUSTOMERS_A_PAYMENT) + 1)
        ordinary = history.bank.rows(Party.PERSON)
        ordinary = ordinary[~history.bank.reserved[ordinary]]
        self._bank, added = extend(history.bank, strangers, self._rng)
        self._names, self._parties = self._bank.names.tolist(), self._bank.party.tolist()
        self._customers = np.concatenate([ordinary, added])
        self._balances = [*history.balances.tolist(), *self._rng.lognormal(9.0, 0.8, len(added)).tolist()]
        self._zone = history.zone
        self._run = history.run
        self._next_number = len(history) + 1
        self._rate = rate
        self._start_ms = start_ms
        self._everyday_sent = 0
        self._chunk: Iterator[Payment] = iter(())
        self._agenda: list[tuple[int, int, Any]] = []
        self._later: list[tuple[int, int, Record]] = []
        self._order = 0
        for (start_s, _), placed in zip(plays, history.cast, strict=True):
            self._book(start_ms + round(start_s * 1000), placed)
        if bad:
            self._agenda_add(start_ms + 2_000, None)

    def due(self, now_ms: int) -> list[Record]:
        """Records due at `now_ms` that earlier calls did not return, in order; their event time is `now_ms`.

        Payments of night episodes are of the last night and come in late, as after an outage of a channel.
        """
        records: list[Record] = []
        while self._agenda and self._agenda[0][0] <= now_ms:
            records += self._act(heapq.heappop(self._agenda)[2], now_ms)
        while self._later and self._later[0][0] <= now_ms:
            records.append(heapq.heappop(self._later)[2])
        target = int((now_ms - self._start_ms) / 1000 * self._rate)
        for payment in self._everyday(max(0, target - self._everyday_sent), now_ms):
            records.append(self._transaction(payment))
            if self._next_number % RESENT_EVERY == 0:
                again = records[-1]._replace(repeat=True)
                heapq.heappush(self._later, (now_ms + RESENT_AFTER_MS, self._next_number, again))
        self._everyday_sent = max(target, self._everyday_sent)
        return records

    @property
    def episodes_left(self) -> int:
        """Actions of episodes that are still to come."""
        return len(self._agenda)

    def _book(self, start_ms: int, placed: Placed) -> None:
        episode = placed.episode
        for event in [*episode.changes, *episode.listings]:
            self._agenda_add(start_ms, event)
        first = start_ms + (round(LEAD_S * 1000) if episode.changes or episode.listings else 0)
        share = float(self._rng.uniform(0, 0.99))
        seen: dict[int, int] = {}
        for step in episode.steps:
            # Steps of one wave follow each other closely, but not in one breath.
            place = seen[step.wave] = seen.get(step.wave, -1) + 1
            self._agenda_add(
                first + round(step.wave * WAVE_S * 1000) + place * 20, (step, episode.at_night, share)
            )

    def _agenda_add(self, at_ms: int, action: Any) -> None:
        self._order += 1
        heapq.heappush(self._agenda, (at_ms, self._order, action))

    def _act(self, action: Any, now_ms: int) -> list[Record]:
        if action is None:
            return self._bad(now_ms)
        if isinstance(action, Change):
            name = self._names[action.account]
            update = {
                "account": name,
                "ts": now_ms - round(action.before_s * 1000),
                "opened": None,
                "holder_birth_year": None,
                "kind": None,
                "changed": action.what,
            }
            return [Record(Topic.ACCOUNT_UPDATES, name.encode(), orjson.dumps(update))]
        if isinstance(action, Listing):
            return [_signal(self._names[action.account], action, now_ms)]
        step, at_night, share = action
        ts = night_before(now_ms, share, self._zone) if at_night else now_ms
        return [self._transaction(_payment(step, ts))]

    def _everyday(self, count: int, now_ms: int) -> Iterator[Payment]:
        for _ in range(count):
            payment = next(self._chunk, None)
            if payment is None:
                night = not DAY_STARTS <= local_hour(now_ms, self._zone) < DAY_ENDS
                drawn = live_payments(self._bank, self._customers, CHUNK, self._rng, night=night)
                self._chunk = payments(with_places(drawn, self._bank))
                payment = next(self._chunk)
            yield payment._replace(ts=now_ms)

    def _transaction(self, payment: Payment) -> Record:
        payer, payee, amount = payment.payer, payment.payee, payment.amount
        balances = self._balances
        payer_balance = payee_balance = math.nan
        if self._parties[payer] <= Party.COMPANY:
            payer_balance = payment.payer_balance
            if math.isnan(payer_balance):
                payer_balance = round(max(balances[payer], amount * COVER), 2)
            balances[payer] = payer_balance - amount
        if self._parties[payee] <= Party.COMPANY:
            payee_balance = round(balances[payee], 2)
            balances[payee] += amount
        event_id = f"{self._run}-{self._next_number:07d}"
        self._next_number += 1
        known = payment._replace(payer_balance=payer_balance, payee_balance=payee_balance)
        value = message(known, event_id, self._names, self._parties)
        return Record(Topic.TRANSACTIONS, value["account"].encode(), orjson.dumps(value), event_id)

    def _bad(self, now_ms: int) -> list[Record]:
        account, payee = (self._names[row] for row in self._customers[:2])
        records = [
            Record(Topic.TRANSACTIONS, bad.key, bad.value, bad=True)
            for bad in bad_records(account, payee, now_ms, self._run)
        ]
        # An id that comes again with another amount. The first has to be counted before.
        payment = Payment(
            now_ms, int(self._customers[0]), int(self._customers[1]), 12.0, 0, 0, math.nan, math.nan
        )
        good = self._transaction(payment)
        other = orjson.dumps({**orjson.loads(good.value), "amount": 13.0})
        conflict = Record(Topic.TRANSACTIONS, good.key, other, bad=True)
        heapq.heappush(self._later, (now_ms + round(WAVE_S * 1000), self._next_number, conflict))
        return [*records, good]


def _payment(step: Step, ts: int) -> Payment:
    type_, channel = TYPES.index(step.type), CHANNELS.index(step.channel)
    return Payment(
        ts,
        step.payer,
        step.payee,
        step.amount,
        type_,
        channel,
        step.payer_balance,
        math.nan,
        step.device,
        step.address,
        *step.place,
    )


def _signal(account: str, listing: Listing, now_ms: int) -> Record:
    value = {
        "kind": "account",
        "id": account,
        "level": listing.level,
        "source": listing.source,
        "reason": listing.reason,
        "valid_from": now_ms - 120_000,
        "valid_to": now_ms - 60_000 if listing.over else None,
    }
    return Record(Topic.RISK_SIGNALS, f"account:{account}".encode(), orjson.dumps(value))
