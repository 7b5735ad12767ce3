"""Accounts that somebody else has got hold of: typologies 5, 8, 12, 17, 18 and 22."""

from __future__ import annotations

from stream_guard.detection.vocabulary import Role
from stream_guard.simulation.bank import CITIES
from stream_guard.simulation.scene import HOUR, MINUTE, Cast, Change, Episode, Step


def probe_then_drain(cast: Cast) -> Episode:
    """Tiny payments try out a stolen account; when they go through, a large one follows to the same payee."""
    victim, mule = cast.person(), cast.person()
    probes = [1.0, round(cast.rng.uniform(0.1, 1.0), 2), cast.amount(8, 60, 1), cast.amount(80, 400, 10)]
    steps = [Step(victim, mule, probe, n * 4 * MINUTE, n) for n, probe in enumerate(probes)]
    large = cast.amount(70_000, 150_000)
    steps.append(Step(victim, mule, large, 40 * MINUTE, len(probes)))
    return Episode("probe-then-drain", tuple(steps), {victim: Role.VICTIM, mule: Role.MULE})


def drain(cast: Cast) -> Episode:
    """One payment to somebody new takes nearly everything there is."""
    victim, mule = cast.person(), cast.person()
    balance = round(cast.rng.uniform(90_000, 180_000), 2)
    step = Step(victim, mule, round(balance * cast.rng.uniform(0.95, 0.995), 2), 0, 0, payer_balance=balance)
    return Episode("drain", (step,), {victim: Role.VICTIM, mule: Role.MULE})


def night_out_of_habit(cast: Cast) -> Episode:
    """While the holder sleeps, a sum leaves that never left at night before."""
    victim, mule = cast.person(), cast.person()
    step = Step(victim, mule, cast.amount(130_000, 240_000), 0, 0)
    return Episode("night-out-of-habit", (step,), {victim: Role.VICTIM, mule: Role.MULE}, at_night=True)


def details_changed(cast: Cast) -> Episode:
    """Somebody gets the telephone number of an account replaced, and hours later takes the money."""
    victim, mule = cast.person(), cast.person()
    what = ("phone", "password", "device")[int(cast.rng.integers(3))]
    return Episode(
        "details-changed",
        (Step(victim, mule, cast.amount(115_000, 240_000), 5 * HOUR, 1),),
        {victim: Role.VICTIM, mule: Role.MULE},
        changes=(Change(victim, what, 10 * MINUTE),),
    )


def far_above_habit(cast: Cast) -> Episode:
    """An account that buys groceries pays a sum many times larger than anything before."""
    victim, mule = cast.person(), cast.person()
    step = Step(victim, mule, cast.amount(60_000, 95_000), 0, 0)
    return Episode("far-above-habit", (step,), {victim: Role.VICTIM, mule: Role.MULE})


def small_tries(cast: Cast) -> Episode:
    """Somebody with a stolen password tries out what goes through: small payments to five strangers."""
    victim, mules = cast.person(), cast.persons(5)
    steps = [Step(victim, mule, cast.amount(1, 90, 1), n * 6 * MINUTE, n) for n, mule in enumerate(mules)]
    return Episode("small-tries", tuple(steps), {victim: Role.VICTIM} | dict.fromkeys(mules, Role.MULE))


def impossible_travel(cast: Cast) -> Episode:
    """A card is used at home, and half an hour later its copy a thousand kilometres away."""
    victim = cast.person()
    home = int(cast.bank.home[victim])
    here, there = CITIES[home], CITIES[(home + 1) % len(CITIES)]
    return Episode(
        "impossible-travel",
        (
            Step(victim, cast.outside(), cast.amount(60, 200, 1), 0, 0, "purchase", "card", place=here),
            Step(
                victim,
                cast.outside(),
                cast.amount(2_000, 4_000),
                30 * MINUTE,
                1,
                "purchase",
                "card",
                place=there,
            ),
        ),
        {victim: Role.VICTIM},
    )
