"""Innocent behaviour that looks like a typology. Without it every warning would be right."""

from __future__ import annotations

from stream_guard.simulation.bank import Party
from stream_guard.simulation.scene import HOUR, MINUTE, Cast, Change, Episode, Step


def salary_run(cast: Cast) -> Episode:
    """A company is paid for an order and pays its people: looks like one-in-many-out."""
    company, staff = cast.business(Party.COMPANY), cast.persons(9)
    wages = [cast.amount(9_000, 16_000) for _ in staff]
    runs = [
        Step(company, person, wage, 6 * HOUR + n * 2, 1, "salary", "batch")
        for n, (person, wage) in enumerate(zip(staff, wages, strict=True))
    ]
    order = Step(cast.outside(), company, round(sum(wages) * 1.04, 2), 0, 0, channel="batch")
    return Episode("salary-run", (order, *runs))


def shop_takings(cast: Cast) -> Episode:
    """Wholesale customers pay a shop, which pays its supplier: looks like many-in-one-out."""
    shop, customers = cast.business(Party.SHOP), cast.persons(8)
    sums = [cast.amount(29_000, 38_000) for _ in customers]
    takings = [
        Step(customer, shop, amount, n * 5 * HOUR, 0, channel="online")
        for n, (customer, amount) in enumerate(zip(customers, sums, strict=True))
    ]
    supplier = Step(shop, cast.outside(), round(sum(sums) * 0.9, 2), 44 * HOUR, 1, "bill", "online")
    return Episode("shop-takings", (*takings, supplier))


def house_purchase(cast: Cast) -> Episode:
    """A buyer gathers the price from the family and pays the seller: looks like rapid in-out."""
    buyer, parent, seller = cast.person(age=(28, 45)), cast.person(age=(50, 60)), cast.person()
    price = cast.amount(300_000, 600_000, 1_000)
    return Episode(
        "house-purchase",
        (
            Step(parent, buyer, price, 0, 0),
            Step(buyer, seller, round(price * 0.97, 2), 3 * HOUR, 1, channel="counter"),
        ),
    )


def deposit_and_rent(cast: Cast) -> Episode:
    """A new tenant pays deposit, rent and broker to one landlord: looks like similar payments."""
    tenant, landlord = cast.person(age=(22, 35)), cast.person()
    rent = cast.amount(10_500, 13_000)
    steps = [Step(tenant, landlord, rent, n * 5 * MINUTE, n, "rent") for n in range(4)]
    return Episode("deposit-and-rent", tuple(steps))


def late_worker(cast: Cast) -> Episode:
    """Somebody on night shift pays for a car: looks like night activity out of habit."""
    worker, dealer = cast.person(), cast.person()
    return Episode("late-worker", (Step(worker, dealer, cast.amount(110_000, 160_000), 0, 0),), at_night=True)


def new_telephone(cast: Cast) -> Episode:
    """A new telephone, and the day after the fees for the children's school: looks like a takeover."""
    parent, school = cast.person(age=(35, 50)), cast.outside()
    return Episode(
        "new-telephone",
        (Step(parent, school, cast.amount(105_000, 130_000), 20 * HOUR, 1, "bill", "online"),),
        changes=(Change(parent, "device", 20 * MINUTE),),
    )


def moved_here(cast: Cast) -> Episode:
    """Savings follow their owner to a new bank: looks like a new account with high turnover."""
    owner = cast.person(age=(30, 55), opened_days_ago=(9, 20))
    savings = cast.amount(520_000, 700_000, 1_000)
    return Episode("moved-here", (Step(cast.outside(), owner, savings, 0, 0, channel="counter"),))


def care_home(cast: Cast) -> Episode:
    """An old person pays the first quarter in a care home: looks like an elder paying a stranger."""
    elder, home = cast.person(age=(74, 90)), cast.business(Party.COMPANY)
    return Episode("care-home", (Step(elder, home, cast.amount(24_000, 36_000), 0, 0, channel="mobile"),))
