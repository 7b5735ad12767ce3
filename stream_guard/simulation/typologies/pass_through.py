"""Mule accounts through which money passes: typologies 1, 2, 3, 11 and 20."""

from __future__ import annotations

from stream_guard.detection.vocabulary import Role
from stream_guard.simulation.scene import HOUR, MINUTE, Cast, Episode, Step


def rapid_in_out(cast: Cast) -> Episode:
    """A victim pays a mule, and within minutes all of it has left again for two accounts elsewhere."""
    victim, mule, next_mule = cast.person(), cast.person(), cast.person()
    total = cast.amount(120_000, 260_000)
    first = round(total * cast.rng.uniform(0.52, 0.6), 2)
    second = round(total * 0.985 - first, 2)
    return Episode(
        "rapid-in-out",
        (
            Step(victim, mule, total, 0, 0),
            Step(mule, next_mule, first, 3 * MINUTE, 1),
            Step(mule, cast.outside(), second, 5 * MINUTE, 2),
        ),
        {victim: Role.VICTIM, mule: Role.MULE, next_mule: Role.MULE},
    )


def many_in_one_out(cast: Cast) -> Episode:
    """Seven victims pay one collecting account within two days; it pays one other account."""
    victims = cast.persons(7)
    mule, collector = cast.person(), cast.person()
    sums = [cast.amount(34_000, 46_000) for _ in victims]
    paid = [
        Step(victim, mule, amount, n * 6.5 * HOUR, 0)
        for n, (victim, amount) in enumerate(zip(victims, sums, strict=True))
    ]
    out = Step(mule, collector, round(sum(sums) * 0.97, 2), 45 * HOUR, 1)
    return Episode(
        "many-in-one-out",
        (*paid, out),
        dict.fromkeys(victims, Role.VICTIM) | {mule: Role.MULE, collector: Role.MULE},
    )


def one_in_many_out(cast: Cast) -> Episode:
    """One large sum comes in and goes out to eight runners who will draw it at machines."""
    victim, mule, runners = cast.person(), cast.person(), cast.persons(8)
    total = cast.amount(160_000, 300_000)
    each = total * 0.96 / len(runners)
    outs = [
        Step(mule, runner, round(each * cast.rng.uniform(0.9, 1.08), 2), (2 + 3 * n) * HOUR, 1)
        for n, runner in enumerate(runners)
    ]
    return Episode(
        "one-in-many-out",
        (Step(victim, mule, total, 0, 0), *outs),
        {victim: Role.VICTIM, mule: Role.MULE} | dict.fromkeys(runners, Role.MULE),
    )


def two_way_churning(cast: Cast) -> Episode:
    """Two accounts send the same money to each other to look busy and creditworthy."""
    one, other = cast.person(), cast.person()
    amount = cast.amount(52_000, 78_000)
    steps = []
    for turn in range(4):
        there, back = (one, other), (other, one)
        steps.append(Step(*there, round(amount * cast.rng.uniform(0.98, 1.0), 2), turn * 20 * HOUR, 2 * turn))
        steps.append(
            Step(*back, round(amount * cast.rng.uniform(0.98, 1.0), 2), (turn * 20 + 7) * HOUR, 2 * turn + 1)
        )
    return Episode("two-way-churning", tuple(steps), {one: Role.MULE, other: Role.MULE})


def mirror_pass_through(cast: Cast) -> Episode:
    """What comes into an account leaves it to the cent, several times a day; it never holds anything."""
    mule = cast.person()
    steps = []
    for turn in range(3):
        sum_ = cast.amount(28_000, 44_000)
        at = turn * 5 * HOUR
        # Its balance is next to nothing whenever the bank looks.
        steps.append(Step(cast.outside(), mule, sum_, at, 2 * turn))
        steps.append(Step(mule, cast.outside(), sum_, at + 2 * HOUR, 2 * turn + 1, payer_balance=sum_ + 40.0))
    return Episode("mirror-pass-through", tuple(steps), {mule: Role.MULE})
