from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from stream_guard.detection import kernels, profile_kernels, ring_kernels
from stream_guard.detection.kernels import source_stamp

USER = """
from probe.helper import plus
from probe.kernels import kernel

@kernel
def answer(x: int) -> int:
    return plus(x)

print(answer(1))
"""
HELPER = """
from probe.constants import NUMBER
from probe.kernels import kernel

@kernel
def plus(x: int) -> int:
    return x + NUMBER
"""


def run(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "probe.user"], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_constant_changed_two_modules_away_is_not_read_from_stored_machine_code(tmp_path: Path) -> None:
    package = tmp_path / "probe"
    package.mkdir()
    source = Path(kernels.__file__).read_text()
    files = {"__init__": "", "kernels": source, "user": USER, "helper": HELPER, "constants": "NUMBER = 1\n"}
    for name, text in files.items():
        (package / f"{name}.py").write_text(text)
    assert run(tmp_path) == "2"
    stored = {file: file.stat().st_mtime_ns for file in package.rglob("*.nbc")}
    assert stored
    assert run(tmp_path) == "2"
    assert {file: file.stat().st_mtime_ns for file in package.rglob("*.nbc")} == stored
    (package / "constants.py").write_text("NUMBER = 41\n")
    assert run(tmp_path) == "42"


def test_stamps_differ_between_kernels_of_different_sources() -> None:
    assert source_stamp(profile_kernels.__file__) != source_stamp(ring_kernels.__file__)
