"""Episodes: what a typology plays, who plays in it, and the truth about them that no detector sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from stream_guard.detection.vocabulary import Role
from stream_guard.simulation.bank import Bank, Party
from stream_guard.simulation.calendar import DAY_MS, HOUR_MS

MINUTE = 60.0
HOUR = 3_600.0
DAY = 86_400.0

OWN = -1
"""The payer's own device or address."""

QUIET_DAYS = 8
"""How long a reserved account keeps still before and after its episode: its windows hold that only."""


@dataclass(frozen=True, slots=True)
class Step:
    """One payment of an episode.

    Attributes
    ----------
    payer, payee
        Rows of the bank.
    amount
        In base currency.
    at_s
        Seconds after the start of the episode, at its natural pace.
    wave
        Order of causes: a step sees those of lower waves. A live stream compresses the pace, not the order.
    type, channel
        As in the ledger.
    payer_balance
        What the payer had just before, where it matters; NaN otherwise.
    device, address
        Row of the account whose device or address it comes from.
    place
        Latitude and longitude, degrees, where it matters.
    """

    payer: int
    payee: int
    amount: float
    at_s: float
    wave: int
    type: str = "transfer"
    channel: str = "mobile"
    payer_balance: float = float("nan")
    device: int = OWN
    address: int = OWN
    place: tuple[float, float] = (float("nan"), float("nan"))


@dataclass(frozen=True, slots=True)
class Past:
    """An innocent payment some days before an episode that its trigger needs."""

    payer: int
    payee: int
    amount: float
    days_before: float


@dataclass(frozen=True, slots=True)
class Change:
    """Changed details of an account, some seconds before the episode starts."""

    account: int
    what: str
    before_s: float


@dataclass(frozen=True, slots=True)
class Listing:
    """A party that gets onto a list before the episode starts; `over`: what holds no longer by then."""

    account: int
    source: str
    level: int
    reason: str
    over: bool = False


@dataclass(frozen=True, slots=True)
class Truth:
    """What an account was in a fraud. For investigators and files, never for the stream."""

    typology: str
    role: Role
    group: int


@dataclass(frozen=True, slots=True)
class Episode:
    """A typology played once, or innocent behaviour that looks like one.

    Attributes
    ----------
    typology
        Name, as in :data:`stream_guard.simulation.typologies.TYPOLOGIES` or ``LOOK_ALIKES``.
    steps
        Its payments.
    past, changes, listings
        What has to be there before.
    roles
        Role of each account that takes part in the fraud; empty for innocent behaviour.
    at_night
        Whether it happens between 01:00 and 05:00 local.
    """

    typology: str
    steps: tuple[Step, ...]
    roles: dict[int, Role] = field(default_factory=dict)
    past: tuple[Past, ...] = ()
    changes: tuple[Change, ...] = ()
    listings: tuple[Listing, ...] = ()
    at_night: bool = False

    @property
    def fraud(self) -> bool:
        """Whether it is a fraud."""
        return bool(self.roles)

    @property
    def waves(self) -> int:
        """How many waves its steps have."""
        return 1 + max(step.wave for step in self.steps)

    @property
    def length_s(self) -> float:
        """From its start to its last step, at its natural pace."""
        return max(step.at_s for step in self.steps)


class Cast:
    """Chooses who plays in an episode, and keeps them apart from everybody else.

    Parameters
    ----------
    bank
        Its rows are reserved, and given the facts that a part asks for, in place.
    at_ms
        When the episode starts, epoch milliseconds.
    year
        Calendar year then.
    rng
        Source of all randomness.
    """

    def __init__(self, bank: Bank, at_ms: int, year: int, rng: np.random.Generator) -> None:
        self.bank = bank
        self.at_ms = at_ms
        self.year = year
        self.rng = rng

    def person(
        self,
        *,
        age: tuple[int, int] = (20, 60),
        opened_days_ago: tuple[float, float] | None = None,
        asleep: bool = False,
    ) -> int:
        """A person whom no other episode uses.

        Parameters
        ----------
        age
            Lowest and highest age in full years (the year of the episode minus the year of birth).
        opened_days_ago
            When the account was opened; as the bank says when not given.
        asleep
            The account has no habits at all.

        Raises
        ------
        ValueError
            Everybody is taken.
        """
        row = self._free(Party.PERSON)
        bank = self.bank
        bank.birth_year[row] = self.year - int(self.rng.integers(age[0], age[1] + 1))
        if opened_days_ago is not None:
            bank.opened[row] = self.at_ms - round(self.rng.uniform(*opened_days_ago) * DAY_MS)
            bank.active_from[row] = bank.opened[row] + HOUR_MS
        bank.active_until[row] = self.at_ms - QUIET_DAYS * DAY_MS
        if asleep:
            bank.active_until[row] = bank.active_from[row]
        return row

    def persons(self, count: int) -> list[int]:
        """Several persons."""
        return [self.person() for _ in range(count)]

    def business(self, party: Party) -> int:
        """A shop or a company whom no other episode uses, or a person's account in its place."""
        try:
            row = self._free(party)
        except ValueError:
            row = self._free(Party.PERSON)
        self.bank.active_until[row] = self.at_ms - QUIET_DAYS * DAY_MS
        return row

    def outside(self) -> int:
        """Somebody with an account at another bank."""
        return int(self.rng.choice(self.bank.rows(Party.EXTERNAL)))

    def amount(self, low: float, high: float, step: float = 100.0) -> float:
        """A round amount between the two."""
        return round(round(self.rng.uniform(low, high) / step) * step, 2)

    def _free(self, party: Party) -> int:
        free = np.flatnonzero((self.bank.party == party) & ~self.bank.reserved)
        if not len(free):
            raise ValueError(
                f"every {party.name.lower()} of the simulated bank already plays in an episode: "
                "ask for more accounts or fewer episodes"
            )
        row = int(self.rng.choice(free))
        self.bank.reserved[row] = True
        return row


Play = Callable[[Cast], Episode]
"""A typology: chooses its cast and writes its episode."""
