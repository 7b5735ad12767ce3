from __future__ import annotations

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_guard.alerts import Reason
from stream_guard.detection.findings import FINDING_UPGRADES, Finding
from stream_guard.detection.vocabulary import Action, Side

text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
score = st.floats(0, 100)
side = st.shared(st.sampled_from(Side), key="side")
account = st.shared(text, key="account")
reason = st.builds(
    Reason,
    rule=text,
    version=st.integers(1, 99),
    account=account,
    side=side,
    score=score,
    text=text,
    evidence=st.dictionaries(text, st.none() | st.floats(allow_nan=False, allow_infinity=False)),
)
findings = st.builds(
    Finding,
    side=side,
    account=account,
    event_id=text,
    event_hash=st.integers(0, 2**64 - 1),
    ts=st.integers(0, 2**43),
    amount=st.floats(0.01, 1e12),
    action=st.sampled_from(Action),
    score=score,
    reasons=st.lists(reason, max_size=3).map(tuple),
    warn=st.booleans(),
    intercepted=st.booleans(),
    pack=text,
)


@given(findings)
def test_a_case_record_brings_back_the_same_finding(finding: Finding) -> None:
    assert Finding.from_bytes(finding.to_bytes()) == finding


def test_columns_values_are_taken_as_they_are() -> None:
    columns = (np.uint64(2**64 - 1), np.int64(5), np.float64(1.5), Action.STOP, np.float64(7))
    finding = Finding(Side.PAYER, "a", "e", *columns, (), np.bool_(True), False, "p")  # type: ignore[arg-type]
    read = Finding.from_bytes(finding.to_bytes())
    assert (read.event_hash, read.ts, read.amount, read.action, read.warn) == (
        2**64 - 1,
        5,
        1.5,
        Action.STOP,
        True,
    )


def test_an_older_record_is_upgraded(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = Finding(Side.PAYER, "a", "e", 1, 0, 1.0, Action.HOLD, 0.0, (), False, False, "p")
    old = orjson.loads(finding.to_bytes())[:-1]
    monkeypatch.setitem(FINDING_UPGRADES, 0, lambda record: [*record, "p"])
    assert Finding.from_bytes(orjson.dumps([0, *old[1:]])) == finding


def test_another_version_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"of version 2, .* start the one that wrote them"):
        Finding.from_bytes(b"[2]")
    with pytest.raises(ValueError, match="nothing else may write to the cases topic"):
        Finding.from_bytes(b"{}")


def test_a_damaged_record_is_refused() -> None:
    good = orjson.loads(
        Finding(Side.PAYER, "a", "e", 1, 0, 1.0, Action.HOLD, 0.0, (), False, False, "p").to_bytes()
    )
    for bad in (good[:-1], [*good[:1], "nobody", *good[2:]], [*good[:7], 9, *good[8:]]):
        with pytest.raises(ValueError, match="cannot be read as a finding"):
            Finding.from_bytes(orjson.dumps(bad))
