"""Who banks here: persons, shops and companies with accounts, and the outside world they pay."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_guard.simulation.calendar import DAY_MS

Index = npt.NDArray[np.int32]

NEVER = np.int64(2**62)
"""Later than any event."""

PERSONS_A_SHOP = 60
PERSONS_A_COMPANY = 150
FRIENDS = 5
ELDER_SHARE = 0.15
OWL_SHARE = 0.05
TENANT_SHARE = 0.4
OWN_COMPANY_SHARE = 0.06
"""Whose employer banks here, too: a payroll of about ten, few enough not to look like a distribution."""

CITIES = (
    (31.23, 121.47),
    (39.90, 116.41),
    (23.13, 113.26),
    (30.57, 104.07),
    (34.34, 108.94),
    (41.81, 123.43),
    (25.04, 102.71),
)
"""Latitude and longitude of where people live, degrees: far from each other."""

MERCHANTS = 240
UTILITIES = 6
PAYROLLS = 40
SUPPLIERS = 30
CLIENTS = 60


class Party(IntEnum):
    """What a party of a payment is."""

    PERSON = 0
    SHOP = 1
    COMPANY = 2
    MERCHANT = 3
    EXTERNAL = 4

    @property
    def is_account(self) -> bool:
        """Whether the bank keeps an account for it."""
        return self <= Party.COMPANY

    @property
    def kind(self) -> str:
        """The word for it in a transaction or an account update."""
        return ("account", "account", "account", "merchant", "external")[self]


@dataclass(frozen=True, slots=True)
class Bank:
    """Everybody, as columns; a party is its row number.

    Attributes
    ----------
    names
        Id in messages. Ids are dealt at random, so that they say nothing about what somebody does.
    party
        :class:`Party` of each.
    opened
        Epoch milliseconds of the account's opening.
    birth_year
        Of the holder; 0 for those who are no person.
    active_from, active_until, active_again
        Habits happen between the first two, and after the third (epoch milliseconds). A reserved account,
        which a typology uses, is kept quiet around its episode, so that the episode shows exactly what it is
        meant to show; a mule never takes up its habits again.
    reserved
        Used by an episode: nobody else's habits touch it.
    salary
        Monthly, in base currency; 0 without one.
    employer
        Who pays the salary.
    landlord
        Who gets the rent; -1 without one.
    friends
        ``(n, FRIENDS)`` persons whom this one pays now and then.
    owl
        Works and shops at night.
    home
        Position in :data:`CITIES`.
    """

    names: npt.NDArray[np.str_]
    party: npt.NDArray[np.uint8]
    opened: npt.NDArray[np.int64]
    birth_year: Index
    active_from: npt.NDArray[np.int64]
    active_until: npt.NDArray[np.int64]
    active_again: npt.NDArray[np.int64]
    reserved: npt.NDArray[np.bool_]
    salary: npt.NDArray[np.float64]
    employer: Index
    landlord: Index
    friends: Index
    owl: npt.NDArray[np.bool_]
    home: Index

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, party: Party) -> Index:
        """Row numbers of one kind of party."""
        return np.flatnonzero(self.party == party).astype(np.int32)

    @property
    def accounts(self) -> Index:
        """Row numbers of all that have an account here."""
        return np.flatnonzero(self.party <= Party.COMPANY).astype(np.int32)

    def facts(self, row: int) -> dict[str, Any]:
        """Account facts of a row as an account update carries them."""
        year = int(self.birth_year[row])
        return {
            "account": str(self.names[row]),
            "opened": int(self.opened[row]),
            "holder_birth_year": year or None,
            "kind": "personal" if year else "business",
        }


def found(accounts: int, start_ms: int, year: int, rng: np.random.Generator) -> Bank:
    """Found a bank.

    Parameters
    ----------
    accounts
        How many persons have an account; shops and companies come on top of it. At least 1.
    start_ms
        When its recorded history starts. Every account was opened before.
    year
        Calendar year of the holders' ages.
    rng
        Source of all randomness.

    Raises
    ------
    ValueError
        `accounts` is below 1.

    Examples
    --------
    >>> bank = found(100, 0, 1970, np.random.default_rng(1))
    >>> len(bank.rows(Party.PERSON)), bool((bank.opened < 0).all())
    (100, True)
    """
    if accounts < 1:
        raise ValueError(f"a bank needs at least one account, not {accounts}")
    shops = max(4, accounts // PERSONS_A_SHOP)
    companies = max(3, accounts // PERSONS_A_COMPANY)
    inside = accounts + shops + companies
    outside = (
        [f"EXT_STORE_{n:04d}" for n in range(MERCHANTS)]
        + [f"EXT_UTILITY_{n:02d}" for n in range(UTILITIES)]
        + [f"EXT_PAYROLL_{n:03d}" for n in range(PAYROLLS)]
        + [f"EXT_SUPPLIER_{n:03d}" for n in range(SUPPLIERS)]
        + [f"EXT_CLIENT_{n:03d}" for n in range(CLIENTS)]
    )
    total = inside + len(outside)
    party = np.full(total, Party.EXTERNAL, np.uint8)
    party[:accounts] = Party.PERSON
    party[accounts : accounts + shops] = Party.SHOP
    party[accounts + shops : inside] = Party.COMPANY
    party[inside : inside + MERCHANTS + UTILITIES] = Party.MERCHANT

    person = party == Party.PERSON
    elder = person & (rng.random(total) < ELDER_SHARE)
    age = np.where(elder, rng.integers(65, 92, total), rng.integers(18, 65, total))
    payrolls = inside + MERCHANTS + UTILITIES + rng.integers(0, PAYROLLS, total)
    own_company = rng.random(total) < OWN_COMPANY_SHARE
    employer = np.where(own_company & ~elder, accounts + shops + rng.integers(0, companies, total), payrolls)
    tenant = person & ~elder & (rng.random(total) < TENANT_SHARE)
    years_open = rng.gamma(2.0, 3.0, total) + 0.2
    return Bank(
        names=np.array([f"A{n:07d}" for n in _deal(inside, rng)] + outside),
        party=party,
        opened=(start_ms - years_open * 365 * DAY_MS).astype(np.int64),
        birth_year=np.where(person, year - age, 0).astype(np.int32),
        active_from=np.full(total, -NEVER),
        active_until=np.full(total, NEVER),
        active_again=np.full(total, NEVER),
        reserved=np.zeros(total, np.bool_),
        salary=np.where(
            person, np.round(rng.lognormal(9.1, 0.45, total) * np.where(elder, 0.5, 1.0), -1), 0.0
        ),
        employer=employer.astype(np.int32),
        landlord=np.where(tenant, rng.integers(0, accounts, total), -1).astype(np.int32),
        friends=rng.integers(0, accounts, (total, FRIENDS)).astype(np.int32),
        owl=person & ~elder & (rng.random(total) < OWL_SHARE),
        home=rng.integers(0, len(CITIES), total).astype(np.int32),
    )


def extend(bank: Bank, strangers: int, rng: np.random.Generator) -> tuple[Bank, Index]:
    """Add customers without a recorded history, as a bank has many of; returns them as rows, too.

    They keep a live stream from asking more of the few accounts with a history than people do in a day.
    """
    first, count = len(bank), max(1, strangers)
    rows = np.arange(first, first + count, dtype=np.int32)
    newest = bank.opened.max()
    columns = {
        "names": np.array([f"B{n:07d}" for n in _deal(count, rng)]),
        "party": np.full(count, Party.PERSON, np.uint8),
        "opened": (newest - rng.gamma(2.0, 3.0, count) * 365 * DAY_MS).astype(np.int64),
        "birth_year": np.full(count, bank.birth_year.max(), np.int32) - rng.integers(0, 50, count, np.int32),
        "active_from": np.full(count, -NEVER),
        "active_until": np.full(count, NEVER),
        "active_again": np.full(count, NEVER),
        "reserved": np.zeros(count, np.bool_),
        "salary": np.round(rng.lognormal(9.1, 0.45, count), -1),
        "employer": rng.choice(bank.rows(Party.EXTERNAL), count),
        "landlord": np.full(count, -1, np.int32),
        "friends": rng.choice(rows, (count, FRIENDS)),
        "owl": np.zeros(count, np.bool_),
        "home": rng.integers(0, len(CITIES), count).astype(np.int32),
    }
    return Bank(
        **{name: np.concatenate([getattr(bank, name), column]) for name, column in columns.items()}
    ), rows


def _deal(count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    return rng.permutation(np.arange(1, count + 1) * 7 + rng.integers(0, 7))
