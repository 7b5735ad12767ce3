from __future__ import annotations

import sys
import time

import pytest

from stream_guard.demo.child import Child
from stream_guard.demo.errors import ChildError


def python(program: str) -> Child:
    return Child("helper", [sys.executable, "-c", program])


def test_a_child_that_dies_is_told_with_its_code_and_last_lines() -> None:
    child = python("import sys; print('out'); print('broken pipe 7', file=sys.stderr); sys.exit(3)")
    child.start()
    deadline = time.monotonic() + 5
    while child.alive and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(ChildError, match=r"the helper ended unexpectedly with code 3(?s:.*)broken pipe 7"):
        child.check()
    child.stop()


def test_a_living_child_passes_and_ends_when_told() -> None:
    child = python("import time; print('up', flush=True); time.sleep(60)")
    child.start()
    assert child.first_line(5.0) == "up"
    child.check()
    started = time.monotonic()
    assert child.stop() == -15
    assert time.monotonic() - started < 3


def test_stopping_what_never_started_does_nothing() -> None:
    assert python("pass").stop() is None
