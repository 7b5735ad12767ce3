"""The one way this project compiles a function with numba."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])

_PACKAGE = __name__.partition(".")[0]


@cache
def _imports(file: str) -> tuple[bytes, frozenset[str]]:
    """Hash of a source file, and the loaded files of this package that it imports."""
    source = Path(file).read_bytes()
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    ours = (sys.modules.get(name) for name in names if name.split(".")[0] == _PACKAGE)
    files = frozenset(module.__file__ for module in ours if module is not None and module.__file__)
    return hashlib.sha256(source).digest(), files


def source_stamp(file: str) -> str:
    """Hash of a source file and of every file of this package that it imports, directly or not."""
    reached: set[str] = set()
    waiting = [file]
    while waiting:
        here = waiting.pop()
        if here not in reached:
            reached.add(here)
            waiting += _imports(here)[1]
    return hashlib.sha256(b"".join(sorted(_imports(each)[0] for each in reached))).hexdigest()


def kernel(function: F) -> F:
    """Compile `function` to machine code, keep the result on disk.

    Kernels never raise: NumPy's error model turns a division by zero into inf or NaN, and a missing
    value is NaN. The GIL is released, so that a flush thread or a second loop may go on meanwhile.

    Numba compiles called kernels and constants of other modules into a kernel, but looks only at the kernel's
    own file to see whether the stored machine code is fresh. A changed row layout would then be read with the
    old word numbers, silently. So the stamp that it stores is replaced by one over all the sources.
    """
    compiled: Any = njit(cache=True, nogil=True, error_model="numpy")(function)
    compiled._cache._cache_file._source_stamp = source_stamp(function.__code__.co_filename)
    return cast(F, compiled)
