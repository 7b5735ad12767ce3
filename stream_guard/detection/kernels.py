"""The one way this project compiles a function with numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile `function` to machine code, keep the result on disk.

    Kernels never raise: NumPy's error model turns a division by zero into inf or NaN, and a missing
    value is NaN. The GIL is released, so that a flush thread or a second loop may go on meanwhile.
    """
    return cast(F, njit(cache=True, nogil=True, error_model="numpy")(function))
