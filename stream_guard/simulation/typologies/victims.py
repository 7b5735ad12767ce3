"""Honest people who are talked into paying: typologies 13, 16 and 23."""

from __future__ import annotations

from stream_guard.detection.vocabulary import Role
from stream_guard.simulation.scene import HOUR, Cast, Episode, Listing, Step


def elder_stranger_large(cast: Cast) -> Episode:
    """An old saver pays a stranger who promised high interest."""
    victim, mule = cast.person(age=(69, 88)), cast.person()
    step = Step(victim, mule, cast.amount(32_000, 80_000), 0, 0)
    return Episode("elder-stranger-large", (step,), {victim: Role.VICTIM, mule: Role.MULE})


def listed_counterparty(cast: Cast) -> Episode:
    """Money goes to an account on the police list, and later leaves from it."""
    victim, listed = cast.person(), cast.person()
    sum_ = cast.amount(9_000, 40_000)
    return Episode(
        "listed-counterparty",
        (
            Step(victim, listed, sum_, 0, 0),
            Step(listed, cast.outside(), round(sum_ * 0.6, 2), 2 * HOUR, 1),
        ),
        {victim: Role.VICTIM, listed: Role.MULE},
        listings=(Listing(listed, "police", 100, "account named in a reported case"),),
    )


def tainted_funds(cast: Cast) -> Episode:
    """A listed account pays what it took to a second one, and that a third, before it leaves the bank."""
    listed, second, third = cast.persons(3)
    sum_ = cast.amount(38_000, 49_000)
    return Episode(
        "tainted-funds",
        (
            Step(listed, second, sum_, 0, 0),
            Step(second, third, round(sum_ * 0.95, 2), 2 * HOUR, 1),
            Step(third, cast.outside(), round(sum_ * 0.9, 2), 5 * HOUR, 2),
        ),
        dict.fromkeys([listed, second, third], Role.MULE),
        listings=(Listing(listed, "police", 100, "account named in a reported case"),),
    )
