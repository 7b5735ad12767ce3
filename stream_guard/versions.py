"""Records that say by which version of their layout they were written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

R = TypeVar("R")


def upgraded(record: R, version: Any, newest: int, steps: Mapping[int, Callable[[R], R]], what: str) -> R:
    """Bring a stored record to the newest version.

    Parameters
    ----------
    record, version
        What was read, and the version that it claims.
    newest
        The version that this release writes.
    steps
        By version: what makes a record of it one of the next version. A version without its step is no
        longer read.
    what
        Name of the record in the refusal's sentence, in the plural.

    Raises
    ------
    ValueError
        A later release wrote it, or one that is too old, or none.

    Examples
    --------
    >>> steps = {1: lambda record: {**record, "added": 0}}
    >>> upgraded({"v": 1}, 1, 2, steps, "tallies")
    {'v': 1, 'added': 0}
    >>> upgraded({"v": 3}, 3, 2, steps, "tallies")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: tallies are of version 3, this release reads up to 2: start the one that wrote them, or ...
    """
    while version != newest:
        step = steps.get(version) if isinstance(version, int) else None
        if step is None:
            raise ValueError(
                f"{what} are of version {version!r}, this release reads up to {newest}: start the one that "
                "wrote them, or a new application id"
            )
        record = step(record)
        version += 1
    return record
