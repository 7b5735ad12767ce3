"""The triggers of the typologies, written down as plainly as the catalogue states them.

Each looks at all payments of a bank that touch the accounts of one episode and says which accounts it meets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

HOUR = 3_600.0
DAY = 86_400.0
ZONE = ZoneInfo("Asia/Shanghai")


@dataclass(frozen=True)
class Paid:
    """One payment; `ts` in seconds."""

    ts: float
    payer: str
    payee: str
    amount: float
    payer_balance: float | None = None
    device: str | None = None
    place: tuple[float, float] | None = None


@dataclass
class Seen:
    """What a trigger may look at."""

    paid: list[Paid]
    opened: dict[str, float] = field(default_factory=dict)
    birth_year: dict[str, int] = field(default_factory=dict)
    changed: dict[str, float] = field(default_factory=dict)
    listed: set[str] = field(default_factory=set)

    def outs(self, account: str, until: float, window: float) -> list[Paid]:
        return [p for p in self.paid if p.payer == account and until - window < p.ts <= until]

    def ins(self, account: str, until: float, window: float) -> list[Paid]:
        return [p for p in self.paid if p.payee == account and until - window < p.ts <= until]

    def before(self, p: Paid) -> list[Paid]:
        """Everything of the payer before a payment."""
        return [q for q in self.paid if q.ts < p.ts and p.payer in (q.payer, q.payee)]


def total(paid: list[Paid]) -> float:
    return sum(p.amount for p in paid)


def rapid_in_out(seen: Seen) -> Iterator[str]:
    for p in seen.paid:
        came, went = total(seen.ins(p.payer, p.ts, DAY)), total(seen.outs(p.payer, p.ts, DAY))
        if came >= 50_000 and 0.9 * came <= went <= came:
            yield p.payer


def many_in_one_out(seen: Seen) -> Iterator[str]:
    for p in seen.paid:
        ins, outs = seen.ins(p.payer, p.ts, 7 * DAY), seen.outs(p.payer, p.ts, 7 * DAY)
        to_one = total([q for q in outs if q.payee == p.payee])
        sources = {q.payer for q in ins}
        if (
            len(sources) >= 5
            and len(ins) >= 3 * len(outs)
            and total(ins) >= 200_000
            and to_one >= 0.8 * total(ins)
        ):
            yield p.payer


def one_in_many_out(seen: Seen) -> Iterator[str]:
    for p in seen.paid:
        largest = max((q.amount for q in seen.ins(p.payer, p.ts, 3 * DAY)), default=0)
        if largest >= 100_000 and len({q.payee for q in seen.outs(p.payer, p.ts, 3 * DAY)}) >= 5:
            yield p.payer


def similar_payments(seen: Seen) -> Iterator[str]:
    for p in seen.paid:
        alike = [
            q
            for q in seen.outs(p.payer, p.ts, 5 * DAY)
            if q.payee == p.payee and abs(q.amount - p.amount) <= 0.1 * p.amount
        ]
        if len(alike) >= 3 and p.amount >= 10_000:
            yield p.payer


def probe_then_drain(seen: Seen) -> Iterator[str]:
    for p in seen.paid:
        day = seen.outs(p.payer, p.ts, DAY)
        probed = any(q.payee == p.payee and q.amount <= 1 and q.ts < p.ts for q in day)
        small = [q for q in seen.outs(p.payer, p.ts, HOUR) if q.amount <= 500]
        if probed and len(small) >= 4 and p.amount >= 50_000:
            yield p.payer


def dormant_wakes(seen: Seen) -> Iterator[str]:
    accounts = {q.payer for q in seen.paid} | {q.payee for q in seen.paid}
    for account in accounts:
        own = sorted(q.ts for q in seen.paid if account in (q.payer, q.payee))
        for earlier, later in pairwise(own):
            moved = max(
                total(seen.outs(account, later + DAY - 1, DAY)),
                total(seen.ins(account, later + DAY - 1, DAY)),
            )
            if later - earlier >= 180 * DAY and moved >= 50_000:
                yield account


def new_account_high_turnover(seen: Seen) -> Iterator[str]:
    for account, opened in seen.opened.items():
        for p in seen.paid:
            young = opened <= p.ts <= opened + 30 * DAY
            if (
                young
                and p.payee == account
                and p.amount >= 200_000
                and total(seen.ins(account, p.ts, 30 * DAY)) >= 500_000
            ):
                yield account


def night_out_of_habit(seen: Seen) -> Iterator[str]:
    def at_night(ts: float) -> bool:
        return datetime.fromtimestamp(ts, ZONE).hour < 6

    for p in seen.paid:
        habit = [q.amount for q in seen.outs(p.payer, p.ts, 90 * DAY) if q.ts < p.ts and at_night(q.ts)]
        if at_night(p.ts) and p.amount >= 100_000 and max(habit, default=0) < 0.5 * p.amount:
            yield p.payer


def below_limit(seen: Seen) -> Iterator[str]:
    for p in seen.paid:
        near = [
            q
            for q in seen.outs(p.payer, p.ts, 30 * DAY)
            if any(0.99 * limit <= q.amount < limit for limit in (5_000, 50_000, 200_000))
        ]
        if len(near) >= 5:
            yield p.payer


def ants_moving_house(seen: Seen) -> Iterator[str]:
    for p in seen.paid:
        small = [q for q in seen.outs(p.payer, p.ts, 7 * DAY) if q.amount <= 5_000]
        if len(small) >= 20 and total(small) >= 100_000:
            yield p.payer


def two_way_churning(seen: Seen) -> Iterator[str]:
    for p in seen.paid:
        there = [q for q in seen.outs(p.payer, p.ts, 7 * DAY) if q.payee == p.payee]
        back = [q for q in seen.ins(p.payer, p.ts, 7 * DAY) if q.payer == p.payee]
        gross = total(there) + total(back)
        if min(len(there), len(back)) >= 3 and abs(total(there) - total(back)) < 0.2 * gross:
            yield p.payer


def details_changed(seen: Seen) -> Iterator[str]:
    for p in seen.paid:
        changed = seen.changed.get(p.payer)
        if changed is not None and 0 <= p.ts - changed <= 72 * HOUR and p.amount >= 100_000:
            yield p.payer


def elder_stranger_large(seen: Seen) -> Iterator[str]:
    for p in seen.paid:
        age = datetime.fromtimestamp(p.ts, ZONE).year - seen.birth_year.get(p.payer, 9999)
        known = any(q.payee == p.payee for q in seen.before(p))
        if age >= 65 and not known and p.amount >= 20_000:
            yield p.payer


def listed_counterparty(seen: Seen) -> Iterator[str]:
    for p in seen.paid:
        yield from ({p.payer, p.payee} & seen.listed)


def drain(seen: Seen) -> Iterator[str]:
    for p in seen.paid:
        known = any(q.payee == p.payee for q in seen.before(p))
        if p.payer_balance and p.amount >= 0.9 * p.payer_balance and not known and p.amount >= 50_000:
            yield p.payer


def far_above_habit(seen: Seen) -> Iterator[str]:
    for p in seen.paid:
        outs = [q.amount for q in seen.before(p) if q.payer == p.payer]
        if len(outs) < 5:
            continue
        mean = sum(outs) / len(outs)
        sigma = (sum((a - mean) ** 2 for a in outs) / (len(outs) - 1)) ** 0.5
        if p.amount > mean + 3 * sigma and p.amount > 1.5 * max(outs):
            yield p.payer


def divergence(seen: Seen) -> Iterator[str]:
    for p in seen.paid:
        outs = seen.outs(p.payer, p.ts, 8 * HOUR)
        if len(outs) > 10 and len({q.payee for q in outs}) > 5:
            yield p.payer


def mirror_pass_through(seen: Seen) -> Iterator[str]:
    for p in seen.paid:
        came, went = total(seen.ins(p.payer, p.ts, DAY)), total(seen.outs(p.payer, p.ts, DAY))
        if came >= 50_000 and abs(came - went) < 0.01 * (came + went):
            yield p.payer


def shared_device(seen: Seen) -> Iterator[str]:
    for p in seen.paid:
        week = [q for q in seen.paid if p.ts - 7 * DAY < q.ts <= p.ts and q.device == p.device]
        if p.device is not None and len({q.payer for q in week}) >= 3:
            yield p.payer


def collection_account(seen: Seen) -> Iterator[str]:
    for p in seen.paid:
        same = [q for q in seen.ins(p.payee, p.ts, 7 * DAY) if q.device == p.device]
        if p.device is not None and len({q.payer for q in same}) >= 3 and total(same) >= 300_000:
            yield p.payee


def frequent_opening(seen: Seen) -> Iterator[str]:
    for p in seen.paid:
        behind = {q.payer for q in seen.paid if q.device == p.device and q.ts <= p.ts}
        young = {a for a in behind if p.ts - 30 * DAY < seen.opened.get(a, 0)}
        if p.device is not None and len(young) >= 3:
            yield from young


def impossible_travel(seen: Seen) -> Iterator[str]:
    for p in seen.paid:
        for q in seen.before(p):
            if q.payer == p.payer and q.place is not None and p.place is not None:
                # Degrees of latitude are 111 km, of longitude here 80 to 105.
                km = 80 * (abs(p.place[0] - q.place[0]) + abs(p.place[1] - q.place[1])) / 2**0.5
                if km > 900 * (p.ts - q.ts) / HOUR and km > 100:
                    yield p.payer


def tainted_funds(seen: Seen) -> Iterator[str]:
    for p in seen.paid:
        for q in seen.outs(p.payer, p.ts, DAY):
            if q.payer in seen.listed:
                yield q.payee
        if any(q.payer in seen.listed for q in seen.ins(p.payer, p.ts, DAY)):
            yield p.payee


def small_tries(seen: Seen) -> Iterator[str]:
    for p in seen.paid:
        small = [q for q in seen.outs(p.payer, p.ts, HOUR) if q.amount <= 500]
        if len(small) >= 4 and len({q.payee for q in small}) >= 3:
            yield p.payer


TRIGGERS: dict[str, Callable[[Seen], Iterator[str]]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        rapid_in_out,
        many_in_one_out,
        one_in_many_out,
        similar_payments,
        probe_then_drain,
        dormant_wakes,
        new_account_high_turnover,
        night_out_of_habit,
        below_limit,
        ants_moving_house,
        two_way_churning,
        details_changed,
        elder_stranger_large,
        listed_counterparty,
        drain,
        far_above_habit,
        divergence,
        mirror_pass_through,
        shared_device,
        collection_account,
        frequent_opening,
        impossible_travel,
        tainted_funds,
        small_tries,
    )
}
