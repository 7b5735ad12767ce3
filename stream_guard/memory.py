"""How much memory this process has, and how much it may have."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Of the container, in version 2 and 1 of Linux' control groups."""


def resident_bytes() -> int:
    """Resident memory; the most there ever was, where the system does not tell what is now."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def bound_bytes(limits: tuple[Path, ...] = LIMITS) -> int:
    """What the container allows, or else what the machine has.

    Examples
    --------
    >>> bound_bytes() > resident_bytes() > 0
    True
    """
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    words = [limit.read_text().strip() for limit in limits if limit.exists()]
    # Without a limit there is a word instead of a number, or one beyond every machine.
    return min([machine, *(int(word) for word in words if word.isdecimal())])
