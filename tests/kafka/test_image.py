"""What an image does, without an engine: a worker finds the kernels that were compiled when it was built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from numba.core.caching import UserProvidedCacheLocator

from tests.kafka.harness import PRODUCTION, ROOT, Env, Worker

ENTRYPOINT = ROOT / "docker" / "entrypoint"


def compiled_code(folder: Path) -> dict[str, int]:
    """Time of writing of every piece of machine code below a folder."""
    return {
        str(file.relative_to(folder)): file.stat().st_mtime_ns
        for file in folder.rglob("*.nb[ci]")
        if not file.name.startswith(".")
    }


def test_a_worker_with_the_kernels_of_its_image_compiles_nothing(topics: Env, tmp_path: Path) -> None:
    data, aside = tmp_path / "data", tmp_path / "compiled"
    program = tmp_path / "bin" / "stream-guard"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m stream_guard "$@"\n')
    program.chmod(0o755)
    environment = {
        **topics,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "STREAM_GUARD_DATA_DIR": str(data),
        "NUMBA_CACHE_DIR": str(data / "numba"),
        "COMPILED_KERNELS": str(aside),
    }
    # Building an image compiles for a minute; what the source tree holds already need not be done again.
    for folder in {file.parent.parent for file in (ROOT / "stream_guard").rglob("__pycache__/*.nbi")}:
        place = UserProvidedCacheLocator.get_suitable_cache_subpath(str(folder / "x.py"))
        shutil.copytree(folder / "__pycache__", data / "numba" / place)
    building = {**os.environ, **environment}
    subprocess.run([program, "compile"], check=True, env=building, cwd=ROOT, capture_output=True)
    data.rename(aside)
    built = compiled_code(aside)
    assert any(name.startswith("numba/") for name in built)
    subprocess.run(["chmod", "-R", "a-w", aside], check=True)
    data.mkdir()

    worker = Worker(environment, instance="worker-0", folder=tmp_path, config=PRODUCTION, program=ENTRYPOINT)
    try:
        worker.wait_ready()
        assert worker.terminate() == 0
    finally:
        worker.child.end()
    assert compiled_code(data) == built
