"""How long to gather a batch: latency against CPU, decided by how busy the process is."""

from __future__ import annotations

from collections.abc import Callable

IDLE_BELOW = 0.25
"""Share of a core below which nothing is gathered: CPU enough to answer every fetch at once."""

BUSY_FROM = 0.55
"""Share of a core from which the whole pause is taken. Measured at 1,000 payments/s: without gathering 0.70
core, with 3 ms 0.31 core."""

SMALL_BATCH = 200
"""Records of a fetch from which its fixed cost no longer matters."""

LOOK_EVERY_S = 0.2


class Gather:
    """Pause within a fetch, 0 while the process is idle or batches are large.

    Every fetch has a fixed cost, so many small ones cost CPU that a moment's wait saves. With time to spare
    that saves nothing and only delays answers.

    Parameters
    ----------
    most_s
        Longest pause, seconds.
    clock
        Monotonic seconds.
    cpu
        CPU seconds of this process.

    Examples
    --------
    >>> now, used = [0.0], [0.0]
    >>> gather = Gather(0.003, lambda: now[0], lambda: used[0])
    >>> now[0], used[0] = 1.0, 0.9
    >>> gather.fetched(10)
    >>> gather.pause()
    0.003
    >>> gather.fetched(5000)
    >>> gather.pause()
    0.0
    """

    def __init__(self, most_s: float, clock: Callable[[], float], cpu: Callable[[], float]) -> None:
        self._most_s = most_s
        self._clock = clock
        self._cpu = cpu
        self._since = clock()
        self._used = cpu()
        self._share = 0.0
        self._records = 0

    def fetched(self, records: int) -> None:
        """Tell how many records the last fetch brought."""
        self._records = records
        now = self._clock()
        if now - self._since >= LOOK_EVERY_S:
            used = self._cpu()
            self._share = (used - self._used) / (now - self._since)
            self._since, self._used = now, used

    def pause(self) -> float:
        """Seconds to wait for more before a batch is handed out."""
        if self._records >= SMALL_BATCH:
            return 0.0
        wanted = (self._share - IDLE_BELOW) / (BUSY_FROM - IDLE_BELOW)
        return self._most_s * min(1.0, max(0.0, wanted))
