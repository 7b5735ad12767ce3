from __future__ import annotations

import copy
from typing import Any

import pytest

from stream_guard.events import SCHEMA_NAMES, schema
from stream_guard.events.schemas import schema_version
from tests.asyncapi.compatibility import WRITTEN_BY_OTHERS, breaks, fields, recorded


@pytest.mark.parametrize("name", SCHEMA_NAMES)
def test_no_version_of_a_schema_breaks_what_was_released_under_it(name: str) -> None:
    version = schema_version(name)
    before, now = recorded(name, version), fields(schema(name))
    assert before is not None, f"record {name} version {version}: python -m tests.asyncapi.compatibility"
    assert breaks(before, now, ours=name not in WRITTEN_BY_OTHERS) == [], "raise its schema version"
    assert before == now, "record what was added: python -m tests.asyncapi.compatibility"


@pytest.mark.parametrize("name", SCHEMA_NAMES)
def test_earlier_versions_stay_recorded_and_a_schema_names_its_version(name: str) -> None:
    assert all(recorded(name, version) is not None for version in range(1, schema_version(name) + 1))
    assert schema(name)["$id"] == f"urn:stream-guard:{name}:{schema_version(name)}"


def changed(name: str, change: Any) -> list[str]:
    document = copy.deepcopy(schema(name))
    change(document)
    return breaks(fields(schema(name)), fields(document), ours=name not in WRITTEN_BY_OTHERS)


def test_a_removed_field_breaks() -> None:
    assert changed("decision", lambda it: it["properties"].pop("late")) == ["late is gone"]
    assert changed("transaction", lambda it: it["properties"].pop("ip")) == ["ip is gone"]


def test_a_changed_type_breaks_wherever_it_is() -> None:
    (sentence,) = changed("decision", lambda it: it["properties"]["amount"].update(type="string"))
    assert sentence.startswith("amount was")
    (sentence,) = changed(
        "alert", lambda it: it["$defs"]["Reason"]["properties"]["score"].update(type="string")
    )
    assert sentence.startswith("reasons[].score was")


def test_a_tighter_bound_breaks_what_a_bank_writes() -> None:
    (sentence,) = changed("transaction", lambda it: it["properties"]["event_id"].update(maxLength=32))
    assert sentence.startswith("event_id was")


def test_a_field_that_becomes_required_breaks_writers_and_one_that_may_be_absent_breaks_readers() -> None:
    assert changed("transaction", lambda it: it["required"].append("type")) == ["type is required now"]
    assert changed("alert", lambda it: it["required"].remove("amount")) == ["amount may be absent now"]


def test_what_is_added_breaks_nobody_unless_writers_must_give_it() -> None:
    def add(document: Any) -> None:
        document["properties"]["hint"] = {"type": "string"}

    def demand(document: Any) -> None:
        add(document)
        document["required"].append("hint")

    assert changed("decision", demand) == []
    assert changed("transaction", add) == []
    assert changed("transaction", demand) == ["hint is new and required"]


def test_another_outcome_may_be_written_but_a_new_action_would_surprise_readers() -> None:
    assert changed("disposition", lambda it: it["$defs"]["Outcome"]["enum"].append("unclear")) == []
    assert len(changed("decision", lambda it: it["properties"]["action"]["enum"].append("wait"))) == 1
