"""How the process before ended, as the next one finds it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stream_guard.streaming.last_exit import Cause, LastExit


def test_the_first_process_of_a_name_had_none_before_it(tmp_path: Path) -> None:
    assert LastExit(tmp_path, "worker-0").begin() is Cause.NEVER


@pytest.mark.parametrize("cause", [Cause.STOPPED, Cause.FENCED, Cause.REFUSED, Cause.FAILED])
def test_a_process_that_says_why_it_ends_is_understood_by_the_next(tmp_path: Path, cause: Cause) -> None:
    LastExit(tmp_path, "worker-0").begin()
    LastExit(tmp_path, "worker-0").end(cause)
    assert LastExit(tmp_path, "worker-0").begin() is cause
    assert LastExit(tmp_path, "worker-1").begin() is Cause.NEVER


def test_one_that_says_nothing_was_killed(tmp_path: Path) -> None:
    LastExit(tmp_path, "worker-0").begin()
    assert LastExit(tmp_path, "worker-0").begin() is Cause.KILLED
    (tmp_path / "exits" / "worker-0").write_text("sto")
    assert LastExit(tmp_path, "worker-0").begin() is Cause.KILLED


@pytest.mark.parametrize(
    ("call", "code", "cause"),
    [
        ("die('why')", 70, Cause.FAILED),
        ("die('why', EXIT_REFUSED)", 4, Cause.REFUSED),
        ("die('why', EXIT_FENCED)", 5, Cause.FENCED),
        ("die('why', EXIT_DEAD_LETTER)", 6, Cause.FAILED),
    ],
)
def test_a_process_that_dies_leaves_its_cause(tmp_path: Path, call: str, code: int, cause: Cause) -> None:
    program = (
        "from pathlib import Path\n"
        "from stream_guard.streaming.fatal import EXIT_DEAD_LETTER, EXIT_FENCED, EXIT_REFUSED\n"
        "from stream_guard.streaming.fatal import die, note_with\n"
        "from stream_guard.streaming.last_exit import Cause, LastExit\n"
        f"last = LastExit(Path({str(tmp_path)!r}), 'worker-0')\n"
        "last.begin()\n"
        "note_with(last.end)\n"
        f"{call}\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == code
    assert LastExit(tmp_path, "worker-0").begin() is cause
