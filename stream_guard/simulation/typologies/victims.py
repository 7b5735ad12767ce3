"""Honest people who are talked into paying: typologies 13 and 16."""

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
