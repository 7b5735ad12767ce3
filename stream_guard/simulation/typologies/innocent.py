"""Innocent behaviour that looks like a typology. Without it every warning would be right."""

from __future__ import annotations

from stream_guard.simulation.bank import CITIES, Party
from stream_guard.simulation.scene import DAY, HOUR, MINUTE, Cast, Change, Episode, Listing, Past, Step
from stream_guard.simulation.typologies.idle_accounts import DORMANT_DAYS


def salary_run(cast: Cast) -> Episode:
    """A company is paid for an order and pays its people, as last month: looks like one-in-many-out."""
    company, staff = cast.business(Party.COMPANY), cast.persons(9)
    wages = [cast.amount(9_000, 16_000) for _ in staff]
    runs = [
        Step(company, person, wage, 6 * HOUR + n * 2, 1, "salary", "batch")
        for n, (person, wage) in enumerate(zip(staff, wages, strict=True))
    ]
    order = Step(cast.outside(), company, round(sum(wages) * 1.04, 2), 0, 0, channel="batch")
    before = [Past(company, person, wage, 29.0) for person, wage in zip(staff, wages, strict=True)]
    return Episode("salary-run", (order, *runs), past=tuple(before))


def shop_takings(cast: Cast) -> Episode:
    """Wholesale customers pay a shop, which pays its usual supplier: looks like many-in-one-out."""
    shop, customers, supplier = cast.business(Party.SHOP), cast.persons(8), cast.outside()
    sums = [cast.amount(29_000, 38_000) for _ in customers]
    takings = [
        Step(customer, shop, amount, n * 5 * HOUR, 0, channel="online")
        for n, (customer, amount) in enumerate(zip(customers, sums, strict=True))
    ]
    bill = Step(shop, supplier, round(sum(sums) * 0.9, 2), 44 * HOUR, 1, "bill", "online")
    return Episode(
        "shop-takings", (*takings, bill), past=(Past(shop, supplier, cast.amount(1_000, 3_000), 16.0),)
    )


def house_purchase(cast: Cast) -> Episode:
    """A family gathers the price of a house and pays the seller at the counter: looks like a drain."""
    buyer, parent, seller = cast.person(age=(28, 45)), cast.person(age=(50, 60)), cast.person()
    price = cast.amount(300_000, 600_000, 1_000)
    paid = Step(
        buyer, seller, round(price * 0.97, 2), 3 * HOUR, 1, channel="counter", payer_balance=price * 1.02
    )
    return Episode("house-purchase", (Step(parent, buyer, price, 0, 0, payer_balance=price * 3), paid))


def bonus_saved(cast: Cast) -> Episode:
    """A bonus goes to the savings account, where money goes every month: looks like rapid in-out."""
    earner, savings = cast.person(), cast.outside()
    bonus = cast.amount(60_000, 90_000)
    return Episode(
        "bonus-saved",
        (
            Step(cast.outside(), earner, bonus, 0, 0, "salary", "batch"),
            Step(earner, savings, round(bonus * 0.98, 2), 4 * MINUTE, 1),
        ),
        past=tuple(Past(earner, savings, cast.amount(2_000, 4_000), days) for days in (12.0, 25.0)),
    )


def lent_and_repaid(cast: Cast) -> Episode:
    """A friend lends money and gets it back in two parts: looks like two-way churning."""
    lender, friend = cast.person(), cast.person()
    sum_ = cast.amount(60_000, 90_000)
    return Episode(
        "lent-and-repaid",
        (
            Step(lender, friend, sum_, 0, 0),
            Step(friend, lender, round(sum_ / 2, 2), 3 * DAY, 1),
            Step(friend, lender, round(sum_ / 2, 2), 5 * DAY, 2),
        ),
    )


def swept_account(cast: Cast) -> Episode:
    """A company's takings are swept to its parent every evening: looks like a mirror."""
    company, parent = cast.business(Party.COMPANY), cast.outside()
    sums = [cast.amount(50_000, 80_000) for _ in range(2)]
    steps = [
        Step(cast.outside(), company, sum_, n * 2 * HOUR, 0, channel="batch") for n, sum_ in enumerate(sums)
    ]
    steps.append(
        Step(company, parent, sum(sums), 8 * HOUR, 1, channel="batch", payer_balance=sum(sums) + 50.0)
    )
    before = [Past(company, parent, cast.amount(60_000, 90_000), days) for days in (9.0, 12.0, 16.0)]
    return Episode("swept-account", tuple(steps), past=tuple(before))


def supplier_run(cast: Cast) -> Episode:
    """A shop pays fourteen suppliers in an afternoon, as it did twice before: looks like divergence."""
    shop, suppliers = cast.business(Party.SHOP), [cast.outside() for _ in range(14)]
    steps = [
        Step(shop, supplier, cast.amount(4_000, 6_500), n * 10 * MINUTE, n // 5, "bill", "online")
        for n, supplier in enumerate(suppliers)
    ]
    before = [
        Past(shop, supplier, cast.amount(3_000, 6_000), days)
        for days in (10.0, 17.0)
        for supplier in suppliers
    ]
    return Episode("supplier-run", tuple(steps), past=tuple(before))


def course_fees(cast: Cast) -> Episode:
    """A course costs 4,980 a week, four times: looks like payments just below a limit."""
    pupil, school = cast.person(), cast.outside()
    before = [Past(pupil, school, 4_980.0, days) for days in (9.0, 16.0, 23.0)]
    return Episode("course-fees", (Step(pupil, school, 4_980.0, 0, 0, "bill", "online"),), past=tuple(before))


def new_kitchen(cast: Cast) -> Episode:
    """Out of their savings somebody furnishes a home in a week: looks like ants moving house."""
    owner = cast.person(age=(28, 45))
    shops = [cast.outside() for _ in range(6)]
    steps = [
        Step(owner, shops[n % 6], cast.amount(4_700, 4_900), n * 6 * HOUR, n // 6, "purchase", "online")
        for n in range(23)
    ]
    return Episode("new-kitchen", tuple(steps))


def deposit_and_rent(cast: Cast) -> Episode:
    """A tenant pays the landlord rent, garage and heating, as every month: looks like similar payments."""
    tenant, landlord = cast.person(age=(22, 35)), cast.person()
    rent = cast.amount(10_500, 13_000)
    steps = [Step(tenant, landlord, rent, n * 5 * MINUTE, n, "rent") for n in range(4)]
    return Episode("deposit-and-rent", tuple(steps), past=(Past(tenant, landlord, rent, 29.0),))


def number_tried(cast: Cast) -> Episode:
    """One yuan to see that the number is right, then the deposit: looks like a probe before a drain."""
    tenant, landlord = cast.person(), cast.person()
    deposit = cast.amount(24_000, 36_000)
    return Episode(
        "number-tried",
        (
            Step(tenant, landlord, 1.0, 0, 0),
            Step(tenant, landlord, deposit, 20 * MINUTE, 1, payer_balance=deposit * 6),
        ),
    )


def bill_shared(cast: Cast) -> Episode:
    """After supper four friends get back what they paid: looks like small tries."""
    guest, friends = cast.person(), cast.persons(4)
    steps = [Step(guest, friend, cast.amount(40, 120, 1), n * MINUTE, n) for n, friend in enumerate(friends)]
    before = [Past(guest, friend, cast.amount(30, 90, 1), 14.0) for friend in friends]
    return Episode("bill-shared", tuple(steps), past=tuple(before))


def flight(cast: Cast) -> Episode:
    """Somebody pays at home, and five hours later after a flight: looks like impossible travel."""
    traveller = cast.person()
    home = int(cast.bank.home[traveller])
    here, there = CITIES[home], CITIES[(home + 1) % len(CITIES)]
    return Episode(
        "flight",
        (
            Step(traveller, cast.outside(), cast.amount(60, 200, 1), 0, 0, "purchase", "card", place=here),
            Step(
                traveller, cast.outside(), cast.amount(300, 900), 5 * HOUR, 1, "purchase", "card", place=there
            ),
        ),
    )


def late_worker(cast: Cast) -> Episode:
    """Somebody on night shift pays a builder again: looks like night activity out of habit."""
    worker, builder = cast.person(), cast.person()
    sum_ = cast.amount(110_000, 160_000)
    step = Step(worker, builder, sum_, 0, 0)
    return Episode("late-worker", (step,), past=(Past(worker, builder, sum_ * 0.8, 20.0),), at_night=True)


def new_telephone(cast: Cast) -> Episode:
    """A new telephone, and the day after the fees of the children's school: looks like a takeover."""
    parent, school = cast.person(age=(35, 50)), cast.outside()
    return Episode(
        "new-telephone",
        (Step(parent, school, cast.amount(105_000, 130_000), 20 * HOUR, 1, "bill", "online"),),
        past=(Past(parent, school, cast.amount(20_000, 30_000), 26.0),),
        changes=(Change(parent, "device", 20 * MINUTE),),
    )


def second_car(cast: Cast) -> Episode:
    """Who bought one car buys another: looks like far above habit."""
    buyer, dealer = cast.person(), cast.person()
    step = Step(buyer, dealer, cast.amount(60_000, 80_000), 0, 0)
    return Episode(
        "second-car", (step,), past=(Past(buyer, cast.outside(), cast.amount(65_000, 90_000), 27.0),)
    )


def care_home(cast: Cast) -> Episode:
    """An old person pays the second month in a care home: looks like an elder paying a stranger."""
    elder, home = cast.person(age=(74, 90)), cast.business(Party.COMPANY)
    fee = cast.amount(24_000, 36_000)
    return Episode("care-home", (Step(elder, home, fee, 0, 0),), past=(Past(elder, home, fee, 28.0),))


def back_from_abroad(cast: Cast) -> Episode:
    """Half a year away, then the rent of a sublet home comes in at once: looks like a dormant account."""
    owner = cast.person(asleep=True)
    rent = cast.amount(55_000, 80_000)
    return Episode(
        "back-from-abroad",
        (
            Step(cast.outside(), owner, rent, 0, 0),
            # Their savings had been there all the time.
            Step(owner, cast.outside(), round(rent * 2.2, 2), 30 * HOUR, 1, channel="counter"),
        ),
        past=(Past(owner, cast.outside(), cast.amount(10, 60, 1), DORMANT_DAYS),),
    )


def savings_moved(cast: Cast) -> Episode:
    """A savings account, still for half a year, pays to its owner's other one: looks like a sleeper."""
    savings, own = cast.person(asleep=True), cast.outside()
    return Episode(
        "savings-moved",
        (Step(savings, own, cast.amount(60_000, 90_000), 0, 0),),
        past=(Past(savings, own, cast.amount(100, 600), DORMANT_DAYS),),
    )


def moved_here(cast: Cast) -> Episode:
    """Savings follow their owner to a new bank after some weeks: looks like a new account's turnover."""
    owner = cast.person(age=(30, 55), opened_days_ago=(35, 60))
    savings = cast.amount(520_000, 700_000, 1_000)
    return Episode("moved-here", (Step(cast.outside(), owner, savings, 0, 0, channel="counter"),))


def cleared(cast: Cast) -> Episode:
    """An account that was on the police list, and no longer is, is paid and pays: looks like a listed one."""
    friend, cleared_, relative = cast.persons(3)
    return Episode(
        "cleared",
        (
            Step(friend, cleared_, cast.amount(9_000, 20_000), 0, 0),
            Step(cleared_, relative, cast.amount(22_000, 30_000), 2 * HOUR, 1),
            Step(relative, cast.outside(), cast.amount(12_000, 20_000), 5 * HOUR, 2),
        ),
        listings=(Listing(cleared_, "police", 100, "mistaken for another account", over=True),),
    )


def wedding(cast: Cast) -> Episode:
    """Guests give a couple money: looks like many who pay in."""
    couple, guests = cast.person(), cast.persons(8)
    steps = [Step(guest, couple, cast.amount(1_000, 5_000), n * HOUR, 0) for n, guest in enumerate(guests)]
    return Episode("wedding", tuple(steps))
