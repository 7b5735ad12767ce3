"""Accounts that one hand runs: typologies 14, 15 and 21."""

from __future__ import annotations

from stream_guard.detection.vocabulary import Role
from stream_guard.simulation.scene import DAY, HOUR, MINUTE, Cast, Episode, Step

SEEN_WAVE = 4
"""What the bank learns of a shared device reaches its decisions within three seconds: three waves."""


def _first_uses(cast: Cast, accounts: list[int], hand: int, apart_s: float) -> list[Step]:
    """A small payment by each account from the device and address of `hand`."""
    return [
        Step(
            account,
            cast.outside(),
            cast.amount(20, 90, 1),
            n * apart_s,
            0,
            "purchase",
            device=hand,
            address=hand,
        )
        for n, account in enumerate(accounts)
    ]


def shared_device(cast: Cast) -> Episode:
    """One telephone pays for four bought accounts; then a victim's money comes in, and leaves from there."""
    victim, mules = cast.person(), cast.persons(4)
    total = cast.amount(32_000, 45_000)
    return Episode(
        "shared-device",
        (
            *_first_uses(cast, mules, mules[0], 7 * HOUR),
            Step(victim, mules[1], total, 2 * DAY, SEEN_WAVE),
            Step(
                mules[1], cast.outside(), round(total * 0.97, 2), 2 * DAY + 3 * HOUR, SEEN_WAVE + 1,
                device=mules[0], address=mules[0],
            ),
        ),
        {victim: Role.VICTIM} | dict.fromkeys(mules, Role.MULE),
    )  # fmt: skip


def frequent_opening(cast: Cast) -> Episode:
    """Three accounts opened within weeks are tried out from one telephone; then one receives and pays out."""
    victim = cast.person()
    mules = [cast.person(age=(19, 30), opened_days_ago=(9, 21)) for _ in range(3)]
    total = cast.amount(21_000, 30_000)
    return Episode(
        "frequent-opening",
        (
            *_first_uses(cast, mules, mules[0], 2 * HOUR),
            Step(victim, mules[1], total, 28 * HOUR, SEEN_WAVE),
            Step(
                mules[1], cast.outside(), round(total * 0.96, 2), 29 * HOUR, SEEN_WAVE + 1,
                device=mules[0], address=mules[0],
            ),
        ),
        {victim: Role.VICTIM} | dict.fromkeys(mules, Role.MULE),
    )  # fmt: skip


def collection_account(cast: Cast) -> Episode:
    """Four runners, paid from one telephone, bring what they have to one account."""
    runners, collector = cast.persons(4), cast.person()
    hand = runners[0]
    steps = [
        Step(runner, collector, cast.amount(86_000, 99_000), n * 15 * HOUR, n, device=hand, address=hand)
        for n, runner in enumerate(runners)
    ]
    return Episode("collection-account", tuple(steps), dict.fromkeys([*runners, collector], Role.MULE))


def family_tablet(cast: Cast) -> Episode:
    """Four of a family pay their bills on one tablet: looks like a shared device."""
    family = cast.persons(4)
    return Episode(
        "family-tablet",
        (
            *_first_uses(cast, family, family[0], 8 * HOUR),
            *(
                Step(
                    one, cast.outside(), cast.amount(300, 900), 2 * DAY + n * HOUR, SEEN_WAVE, "bill",
                    device=family[0], address=family[0],
                )
                for n, one in enumerate(family)
            ),
        ),
    )  # fmt: skip


def student_accounts(cast: Cast) -> Episode:
    """Parents open accounts for two children who begin to study: looks like frequent opening."""
    parents = cast.persons(2)
    children = [cast.person(age=(18, 20), opened_days_ago=(9, 21)) for _ in range(2)]
    return Episode(
        "student-accounts",
        (
            *_first_uses(cast, [*parents, *children], parents[0], 2 * HOUR),
            Step(parents[0], children[0], 9_000, 30 * HOUR, SEEN_WAVE, device=parents[0], address=parents[0]),
            Step(
                children[0], cast.outside(), 4_800, 50 * HOUR, SEEN_WAVE + 1, "bill", "online",
                device=parents[0], address=parents[0],
            ),
        ),
    )  # fmt: skip


def couple_buys(cast: Cast) -> Episode:
    """A couple pays a seller half each, on one computer: looks like a collection account."""
    couple, seller = cast.persons(2), cast.person()
    steps = [
        Step(
            one,
            seller,
            cast.amount(170_000, 190_000),
            n * 10 * MINUTE,
            n,
            "transfer",
            "online",
            device=couple[0],
        )
        for n, one in enumerate(couple)
    ]
    return Episode("couple-buys", tuple(steps))
