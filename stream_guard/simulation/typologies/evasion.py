"""Payments cut to stay out of sight: typologies 4, 9, 10 and 19."""

from __future__ import annotations

from stream_guard.detection.vocabulary import Role
from stream_guard.simulation.scene import HOUR, MINUTE, Cast, Episode, Step


def similar_payments(cast: Cast) -> Episode:
    """A victim pays the same "fee" to the same account again and again."""
    victim, mule = cast.person(), cast.person()
    fee = cast.amount(12_000, 18_000)
    steps = [Step(victim, mule, fee + 50.0 * n, n * 16 * HOUR, n) for n in range(5)]
    return Episode("similar-payments", tuple(steps), {victim: Role.VICTIM, mule: Role.MULE})


def below_limit(cast: Cast) -> Episode:
    """A mule pays out in sums just below the limit from which payments are reported."""
    mule, runners = cast.person(), cast.persons(4)
    steps = [
        Step(mule, runners[n % len(runners)], cast.amount(49_700, 49_990, 10), n * 22 * HOUR, n // 4)
        for n in range(7)
    ]
    return Episode("below-limit", tuple(steps), {mule: Role.MULE} | dict.fromkeys(runners, Role.MULE))


def ants_moving_house(cast: Cast) -> Episode:
    """One large sum moves house in two dozen pieces of a few thousand each."""
    victim, mule, runners = cast.person(), cast.person(), cast.persons(6)
    pieces = [cast.amount(4_300, 4_900) for _ in range(26)]
    steps = [
        Step(mule, runners[n % len(runners)], piece, (1 + 5 * n) * HOUR, 1 + n // 7)
        for n, piece in enumerate(pieces)
    ]
    return Episode(
        "ants-moving-house",
        (Step(victim, mule, round(sum(pieces) * 1.01, 2), 0, 0), *steps),
        {victim: Role.VICTIM, mule: Role.MULE} | dict.fromkeys(runners, Role.MULE),
    )


def divergence(cast: Cast) -> Episode:
    """Fourteen payments to nine accounts in one afternoon."""
    mule, runners = cast.person(), cast.persons(9)
    steps = [
        Step(mule, runners[n % len(runners)], cast.amount(5_200, 9_800), n * 20 * MINUTE, n // 5)
        for n in range(14)
    ]
    return Episode("divergence", tuple(steps), {mule: Role.MULE} | dict.fromkeys(runners, Role.MULE))
