"""Accounts bought or opened to be abused: typologies 6 and 7."""

from __future__ import annotations

from stream_guard.detection.vocabulary import Role
from stream_guard.simulation.scene import HOUR, MINUTE, Cast, Episode, Past, Step

DORMANT_DAYS = 184.0
"""Just over the 180 days of regulation 261, so that a history of 200 days can hold it."""


def dormant_wakes(cast: Cast) -> Episode:
    """Two bought accounts, still for half a year, wake: one receives, the other pays out."""
    victim, receiver, payer = cast.person(), cast.person(asleep=True), cast.person(asleep=True)
    total = cast.amount(75_000, 140_000)
    small = [
        Past(account, cast.outside(), cast.amount(10, 60, 1), DORMANT_DAYS) for account in (receiver, payer)
    ]
    return Episode(
        "dormant-wakes",
        (
            Step(victim, receiver, total, 0, 0),
            Step(receiver, cast.outside(), round(total * 0.97, 2), 35 * MINUTE, 1),
            Step(payer, cast.outside(), cast.amount(60_000, 90_000), 50 * MINUTE, 1),
        ),
        {victim: Role.VICTIM, receiver: Role.MULE, payer: Role.MULE},
        past=tuple(small),
    )


def new_account_high_turnover(cast: Cast) -> Episode:
    """An account three weeks old turns over more than half a million."""
    victims, mule = cast.persons(2), cast.person(age=(19, 30), opened_days_ago=(9, 24))
    sums = [cast.amount(280_000, 360_000) for _ in victims]
    steps = [
        Step(victim, mule, amount, n * 2 * HOUR, 0)
        for n, (victim, amount) in enumerate(zip(victims, sums, strict=True))
    ]
    steps += [
        Step(mule, cast.outside(), round(amount * 0.98, 2), (3 + n) * HOUR, 1)
        for n, amount in enumerate(sums)
    ]
    return Episode(
        "new-account-high-turnover", tuple(steps), dict.fromkeys(victims, Role.VICTIM) | {mule: Role.MULE}
    )
