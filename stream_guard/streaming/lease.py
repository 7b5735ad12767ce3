"""The right to send: proven by the group coordinator, lost by silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Lease:
    """Held for `seconds` after each proof of membership.

    A process that was stopped or cut off for longer may have lost its partitions without knowing. It must
    not send anything until the coordinator has taken a commit from it again.

    Parameters
    ----------
    seconds
        How long one proof is good for. At most the group's session timeout, so that the lease has ended
        when the coordinator gives the partitions away.
    clock
        Monotonic seconds, running on while the process is stopped.

    Examples
    --------
    >>> now = [0.0]
    >>> lease = Lease(10.0, lambda: now[0])
    >>> lease.held()
    False
    >>> lease.renew(0.0)
    >>> lease.held()
    True
    >>> now[0] = 10.5
    >>> lease.held()
    False
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until = float("-inf")
        self._renewed = asyncio.Event()

    def renew(self, asked_at: float) -> None:
        """The coordinator accepted what was asked at `asked_at`; the time of the question counts."""
        self._until = max(self._until, asked_at + self._seconds)
        self._renewed.set()

    def held(self) -> bool:
        """Whether sending is allowed now."""
        return self._clock() < self._until

    def now(self) -> float:
        """The clock this lease runs on."""
        return self._clock()

    async def wait(self) -> None:
        """Return as soon as the lease is held."""
        while not self.held():
            self._renewed.clear()
            await self._renewed.wait()
