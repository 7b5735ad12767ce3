"""The files of the rule language: packs to read, generated sources to keep. All other modules take texts.

A generated source is kept under the hash of its content, is written once and whole, and is compared with
what the emitter says before it is imported, so neither a half-written nor an altered file is ever run. The
folder also holds numba's compiled code, which is trusted: it must belong to whoever runs the service.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

from numba import njit

from stream_guard.detection.rules.document import MAX_BYTES
from stream_guard.detection.rules.emitter import NAME
from stream_guard.detection.rules.errors import PackError, Problem
from stream_guard.detection.rules.pack import load_pack
from stream_guard.detection.rules.rule import Pack

Kernel = Callable[..., None]
PREFIX: Final = "stream_guard_rules_"


def check_file(path: Path | str) -> Pack:
    """Read a pack's file and check everything about it.

    Raises
    ------
    PackError
        If the file cannot be read, is no UTF-8, is too large, or anything in it is wrong.
    """
    source = os.fspath(path)
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        cause = f"the file cannot be read: {error.strerror or error}"
        raise PackError([Problem(source, None, None, None, None, cause)]) from None
    if len(content) > MAX_BYTES:
        raise PackError(
            [Problem(source, None, None, None, None, f"the file is larger than {MAX_BYTES} bytes")]
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise PackError([Problem(source, line, None, None, None, "the file is not UTF-8")]) from None
    return load_pack(text, source)


def kernel_of(source: str, folder: Path | None) -> Kernel:
    """Function of a generated source.

    Parameters
    ----------
    source
        What the emitter wrote.
    folder
        Where sources and compiled code are kept; made if it is not there. None: compiled in memory, every
        time anew.

    Raises
    ------
    PermissionError
        If others may write into the folder.
    OSError
        If it cannot be used.
    """
    if folder is None:
        return _in_memory(source)
    _prepare(folder)
    name = PREFIX + hashlib.sha256(source.encode()).hexdigest()[:40]
    path = folder.resolve() / f"{name}.py"
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__file__ == str(path):
        return cast(Kernel, getattr(loaded, NAME))
    _keep(path, source)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise OSError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    # numba looks the module up by name when it reads compiled code back.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return cast(Kernel, getattr(module, NAME))


def _in_memory(source: str) -> Kernel:
    """Run a generated source without a file; numba can then not keep what it compiles."""
    space: dict[str, Any] = {}
    code = source.replace(
        "from stream_guard.detection.kernels import kernel",
        "from stream_guard.detection.rules.store import uncached as kernel",
    )
    exec(compile(code, "<generated rules>", "exec"), space)  # noqa: S102 - the emitter's text, never a user's
    return cast(Kernel, space[NAME])


def uncached(function: Kernel) -> Kernel:
    """Compile as `stream_guard.detection.kernels.kernel` does, without keeping the result on disk."""
    return cast(Kernel, njit(nogil=True, error_model="numpy")(function))


def _prepare(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name == "posix" and folder.stat().st_mode & stat.S_IWOTH:
        raise PermissionError(
            f"{folder} holds code and others may write into it: run chmod o-w on it, or use another folder"
        )


def _keep(path: Path, source: str) -> None:
    """Write the source unless it is there already: its modification time is part of numba's key."""
    content = source.encode()
    try:
        if path.read_bytes() == content:
            return
    except FileNotFoundError:
        pass
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
