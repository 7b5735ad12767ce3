"""CPU and memory of a process tree over time, read from /proc, and where processes may run."""

from __future__ import annotations

import os
import platform
import threading
import time
from pathlib import Path

import numpy as np

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
EVERY_S = 0.2


def tree(pid: int, childless: int | None = None) -> list[int]:
    """A process and all its descendants; those of `childless` are not looked for."""
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        if one == childless:  # a broker has a hundred threads, and looking at each takes time
            continue
        for path in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                todo += [int(child) for child in path.read_text().split()]
            except OSError:  # the thread ended
                continue
    return found


def usage(pids: list[int]) -> tuple[float, float]:
    """CPU seconds (user and system) and resident megabytes of some processes together."""
    cpu = resident = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:  # it ended
            continue
        cpu += int(fields[11]) + int(fields[12])
        resident += int(fields[21])
    return cpu / TICK, resident * PAGE / 1e6


def busy_cores_s() -> float:
    """CPU seconds of all processes of the machine since it started, stolen ones included."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    user, nice, system, _, _, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / TICK


class Meter(threading.Thread):
    """Samples a process tree five times a second until `stop`, and the broker and the machine beside it."""

    def __init__(self, pid: int, broker: int | None) -> None:
        super().__init__(daemon=True)
        self._pid, self._broker = pid, broker
        self._rows: list[tuple[float, float, float, float, float, float]] = []
        self._ended = threading.Event()
        self._sample()
        self.start()

    def _sample(self) -> None:
        cpu, resident = usage(tree(self._pid))
        if not resident:  # it ended; its CPU time went with it
            return
        broker = usage([self._broker])[0] if self._broker else 0.0
        ours = usage(tree(os.getpid(), self._broker))[0]
        self._rows.append((time.monotonic(), cpu, resident, broker, ours, busy_cores_s()))

    def run(self) -> None:
        while not self._ended.wait(EVERY_S):
            self._sample()

    def stop(self) -> None:
        """End sampling."""
        self._ended.set()
        self.join()

    def _at(self, column: int, when: float) -> float:
        rows = np.array(self._rows)
        return float(np.interp(when, rows[:, 0], rows[:, column]))

    def cpu(self, start: float, end: float) -> float:
        """CPU seconds of the tree between two times of the monotonic clock."""
        return self._at(1, end) - self._at(1, start)

    def broker_cpu(self, start: float, end: float) -> float:
        """The same of the broker."""
        return self._at(3, end) - self._at(3, start)

    def elsewhere(self, start: float, end: float) -> float:
        """Cores that processes which are not of this benchmark kept busy: what makes figures unsure."""
        # The tree of this process holds the measured one and a broker of our own.
        ours = self._at(4, end) - self._at(4, start)
        return max(0.0, (self._at(5, end) - self._at(5, start) - ours) / (end - start))

    def peak_mb(self) -> float:
        """Most memory of the tree in one sample."""
        return max(row[2] for row in self._rows)


def pin(pid: int, cores: set[int]) -> None:
    """Keep a process and its threads on some cores; threads it starts later stay there too."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            os.sched_setaffinity(int(task.name), cores)
        except ProcessLookupError:  # the thread ended
            continue


_USABLE = sorted(os.sched_getaffinity(0))  # looked at once: this process pins itself too


def cores() -> tuple[set[int], set[int]]:
    """The core of what is measured, and those of the broker and the load; the same one where there is one."""
    return {_USABLE[0]}, set(_USABLE[1:]) or {_USABLE[0]}


def machine() -> str:
    """Processor, cores, system, Python."""
    model = platform.processor() or "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{model}, {os.cpu_count()} cores, {system}"
