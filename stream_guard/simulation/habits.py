"""What people do on ordinary days, drawn as whole columns."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from stream_guard.simulation import calendar
from stream_guard.simulation.bank import FRIENDS, Bank, Index, Party
from stream_guard.simulation.calendar import Days, local_days, times_of_day
from stream_guard.simulation.ledger import CHANNELS, Ledger, Times, concatenate, everyday, in_order, take

GROCERIES_A_DAY = 0.13
SHOP_VISITS_A_DAY = 0.03
GIFTS_A_DAY = 0.035
ONLINE_A_DAY = 0.04
"""Payments a person and day; with the monthly ones about 0.32, so 65 in 200 days."""

SMALL_CREDIT = 60_000.0
"""Most that a company's customer pays at once. Less than what counts as a large credit, so that ordinary
paydays do not look like a distribution of one big sum."""


def ordinary_days(
    bank: Bank, start_ms: int, end_ms: int, zone: ZoneInfo, rng: np.random.Generator, activity: float = 1.0
) -> Ledger:
    """All habitual payments in ``[start_ms, end_ms)``, in order of time.

    Reserved accounts keep their own habits while they are active, and nobody else touches them.

    Parameters
    ----------
    bank
        Who pays whom.
    start_ms, end_ms
        Epoch milliseconds.
    zone
        The bank's time zone.
    rng
        Source of all randomness.
    activity
        Factor on how often people buy things; monthly payments stay monthly.
    """
    days = local_days(start_ms, end_ms, zone)
    persons = bank.rows(Party.PERSON)
    ledger = concatenate(
        [
            _purchases(bank, persons, days, activity, rng),
            _shop_visits(bank, persons, days, activity, rng),
            _gifts(bank, persons, days, activity, rng),
            _monthly(bank, persons, days, rng),
            _companies(bank, days, rng),
            _shops(bank, days, rng),
        ]
    )
    return in_order(take(ledger, _allowed(ledger, bank, start_ms, end_ms)))


def _allowed(ledger: Ledger, bank: Bank, start_ms: int, end_ms: int) -> npt.NDArray[np.bool_]:
    ts, payer, payee = ledger.ts, ledger.payer, ledger.payee
    inside = (ts >= start_ms) & (ts < end_ms) & (payer != payee)
    awake = inside
    for party in (payer, payee):
        awake = awake & (ts >= bank.active_from[party])
        awake &= (ts < bank.active_until[party]) | (ts >= bank.active_again[party])
    # A person without an account of their own paying a reserved one would be a habit of the reserved one
    # (wages); an account paying it would be an acquaintance that the episode counts on not to exist.
    acquainted = bank.reserved[payee] & (bank.party[payer] <= Party.COMPANY)
    allowed: npt.NDArray[np.bool_] = awake & ~acquainted
    return allowed


def _spread(rows: Index, mean: float, rng: np.random.Generator) -> Index:
    """Each row as often as a Poisson draw of `mean` says."""
    return np.repeat(rows, rng.poisson(mean, len(rows)))


def _when(days: Days, count: int, free: float, hours: calendar.Array, rng: np.random.Generator) -> Times:
    day = rng.choice(len(days), count, p=days.weights(free))
    return days.midnight[day] + times_of_day(count, hours, rng)


def _purchases(bank: Bank, persons: Index, days: Days, activity: float, rng: np.random.Generator) -> Ledger:
    stores = bank.rows(Party.MERCHANT)
    parts = []
    for rate, median, hours, channel in (
        (GROCERIES_A_DAY, 85.0, calendar.SHOPPING, "card"),
        (ONLINE_A_DAY, 160.0, calendar.ONLINE, "online"),
    ):
        payer = _spread(persons, rate * activity * len(days), rng)
        ts = _when(days, len(payer), 1.4, hours, rng)
        night = bank.owl[payer] & (rng.random(len(payer)) < 0.5)
        ts = np.where(night, _when(days, len(payer), 1.0, calendar.NIGHT, rng), ts)
        # Everybody has three or four stores of their own.
        payee = stores[(payer.astype(np.int64) * 31 + rng.integers(0, 4, len(payer)) * 17) % len(stores)]
        amount = np.minimum(rng.lognormal(np.log(median), 0.7, len(payer)), 4_000.0)
        parts.append(everyday(ts, payer, payee, amount, "purchase", channel))
    return concatenate(parts)


def _shop_visits(bank: Bank, persons: Index, days: Days, activity: float, rng: np.random.Generator) -> Ledger:
    shops = bank.rows(Party.SHOP)
    payer = _spread(persons, SHOP_VISITS_A_DAY * activity * len(days), rng)
    payee = shops[(payer + rng.integers(0, 2, len(payer))) % len(shops)]
    amount = np.minimum(rng.lognormal(np.log(45.0), 0.6, len(payer)), 900.0)
    ts = _when(days, len(payer), 1.3, calendar.SHOPPING, rng)
    return everyday(ts, payer, payee, amount, "purchase", "mobile")


def _gifts(bank: Bank, persons: Index, days: Days, activity: float, rng: np.random.Generator) -> Ledger:
    payer = _spread(persons, GIFTS_A_DAY * activity * len(days), rng)
    payee = bank.friends[payer, rng.integers(0, FRIENDS, len(payer))]
    amount = np.round(np.minimum(rng.lognormal(np.log(180.0), 0.8, len(payer)), 3_000.0), 0)
    return everyday(
        _when(days, len(payer), 1.2, calendar.ONLINE, rng), payer, payee, amount, "transfer", "mobile"
    )


def _monthly(bank: Bank, persons: Index, days: Days, rng: np.random.Generator) -> Ledger:
    utilities = bank.rows(Party.MERCHANT)[-6:]
    paid = persons[bank.salary[persons] > 0]
    tenants = persons[bank.landlord[persons] >= 0]
    rent = np.round(bank.salary[tenants] * 0.3, -2) + 100
    payday = np.where(bank.employer[paid] % 2 == 0, 9, 24)
    parts = []
    for first in days.month_first:
        # Employers pay on the 10th or the 25th, or on the working day after it.
        day = np.where(payday == 9, days.working(first + 9), days.working(first + 24))
        ts = days.midnight[day] + times_of_day(len(paid), calendar.OFFICE, rng)
        amount = bank.salary[paid] * rng.normal(1.0, 0.02, len(paid))
        parts.append(everyday(ts, bank.employer[paid], paid, amount, "salary", "batch"))

        day = np.minimum(first + rng.integers(0, 5, len(tenants)), len(days) - 1)
        ts = days.midnight[day] + times_of_day(len(tenants), calendar.ONLINE, rng)
        parts.append(everyday(ts, tenants, bank.landlord[tenants], rent, "rent", "online"))

        day = np.minimum(first + rng.integers(0, 28, len(persons)), len(days) - 1)
        ts = days.midnight[day] + times_of_day(len(persons), calendar.ONLINE, rng)
        bill = np.minimum(rng.lognormal(np.log(190.0), 0.5, len(persons)), 2_000.0)
        parts.append(everyday(ts, persons, utilities[persons % len(utilities)], bill, "bill", "online"))
    return concatenate(parts) if parts else _nothing()


def _companies(bank: Bank, days: Days, rng: np.random.Generator) -> Ledger:
    companies = bank.rows(Party.COMPANY)
    outside = bank.rows(Party.EXTERNAL)
    customers, suppliers = outside[-60:], outside[-90:-60]
    payroll = np.zeros(len(bank))
    np.add.at(payroll, bank.employer, bank.salary)
    # Income covers the wages once and a half, in pieces.
    income = _spread(companies, len(days) / 4.0, rng)
    mean = np.clip(payroll[income] * 1.5 / 30 * 4, 2_000.0, SMALL_CREDIT)
    amount = np.minimum(mean * rng.lognormal(0.0, 0.4, len(income)), SMALL_CREDIT)
    ts = _when(days, len(income), 0.05, calendar.OFFICE, rng)
    takings = everyday(ts, rng.choice(customers, len(income)), income, amount, "transfer", "batch")
    orders = _spread(companies, len(days) / 12.0, rng)
    amount = np.minimum(rng.lognormal(np.log(6_000.0), 0.6, len(orders)), 40_000.0)
    ts = _when(days, len(orders), 0.05, calendar.OFFICE, rng)
    return concatenate(
        [takings, everyday(ts, orders, rng.choice(suppliers, len(orders)), amount, "bill", "online")]
    )


def _shops(bank: Bank, days: Days, rng: np.random.Generator) -> Ledger:
    shops = bank.rows(Party.SHOP)
    suppliers = bank.rows(Party.EXTERNAL)[-90:-60]
    payer = np.repeat(shops, max(1, len(days) // 7))
    week = np.tile(np.arange(max(1, len(days) // 7)), len(shops))
    day = np.minimum(week * 7 + payer % 5, len(days) - 1)
    ts = days.midnight[day] + times_of_day(len(payer), calendar.OFFICE, rng)
    amount = np.minimum(rng.lognormal(np.log(1_500.0), 0.5, len(payer)), 9_000.0)
    return everyday(ts, payer, suppliers[payer % len(suppliers)], amount, "bill", "online")


def _nothing() -> Ledger:
    empty = np.empty(0, np.int64)
    return everyday(empty, empty, empty, empty.astype(float), "bill", "online")


def live_payments(
    bank: Bank, customers: Index, count: int, rng: np.random.Generator, *, night: bool = False
) -> Ledger:
    """`count` everyday payments as they come in at one moment, from `customers`; event times are 0.

    Parameters
    ----------
    bank
        Who pays whom.
    customers
        Rows that may pay; each as rarely as their number allows.
    count
        How many.
    rng
        Source of all randomness.
    night
        Whether it is night at the bank: fewer wages and shops, more online.
    """
    # Dealing whole decks of customers spaces the payments of one account as far as possible.
    decks = [rng.permutation(customers) for _ in range(count // len(customers) + 1)]
    payer = np.concatenate(decks)[:count]
    draw = rng.random(count)
    stores, shops = bank.rows(Party.MERCHANT), bank.rows(Party.SHOP)
    wage = draw < (0.01 if night else 0.06)
    gift = (draw >= 0.06) & (draw < 0.2)
    shop = (draw >= 0.2) & (draw < 0.24)
    median = np.select([gift, shop], [180.0, 45.0], 95.0)
    amount = np.minimum(np.round(rng.lognormal(0.0, 0.7, count) * median, 2), 3_000.0)
    amount = np.where(wage, bank.salary[payer], amount)
    stranger = stores[(payer.astype(np.int64) * 31 + rng.integers(0, 4, count) * 17) % len(stores)]
    payee = np.select(
        [gift, shop],
        [bank.friends[payer, rng.integers(0, FRIENDS, count)], shops[payer % len(shops)]],
        stranger,
    )
    outside = bank.rows(Party.EXTERNAL)
    ledger = everyday(np.zeros(count, np.int64), payer, payee, amount, "purchase", "mobile")
    ledger = ledger._replace(
        payer=np.where(wage, outside[: len(outside) - 90][payer % (len(outside) - 90)], payer).astype(
            np.int32
        ),
        payee=np.where(wage, payer, payee).astype(np.int32),
        type=np.select([wage, gift], [np.uint8(2), np.uint8(0)], np.uint8(1)).astype(np.uint8),
        channel=np.select(
            [wage, gift], [np.uint8(CHANNELS.index("batch")), np.uint8(0)], rng.integers(0, 3, count)
        ).astype(np.uint8),
    )
    awkward = (ledger.payer == ledger.payee) | (bank.reserved[ledger.payee] & ~wage)
    return ledger._replace(payee=np.where(awkward, stranger, ledger.payee).astype(np.int32))
