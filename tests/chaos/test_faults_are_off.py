"""The faults are the tests' own: nothing in the product can be told to die."""

from __future__ import annotations

from pathlib import Path

import pytest

import stream_guard
from stream_guard.settings import SettingsError
from tests.chaos.faulty_worker import VARIABLE
from tests.kafka.harness import settings_of

SOURCES = sorted(Path(stream_guard.__file__).parent.rglob("*.py"))


def test_the_product_knows_no_fault_and_no_test() -> None:
    assert len(SOURCES) > 50
    for source in SOURCES:
        text = source.read_text()
        assert VARIABLE not in text, source
        assert "SIGKILL" not in text, source
        assert not [line for line in text.splitlines() if line.startswith(("import tests", "from tests"))]


@pytest.mark.parametrize(
    "name", [f"STREAM_GUARD_{VARIABLE}", "STREAM_GUARD_FAULTS", "STREAM_GUARD_STATE__FAULT"]
)
def test_no_setting_plants_one(name: str) -> None:
    with pytest.raises(SettingsError):
        settings_of({name: "transaction"})
