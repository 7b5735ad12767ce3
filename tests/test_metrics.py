"""The metrics: what they say, that they are documented, and that no label names anybody."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stream_guard.detection.vocabulary import Outcome, Role
from stream_guard.feedback.dispositions import dispose
from stream_guard.feedback.tallies import Tallies
from stream_guard.metrics import (
    BATCH_BUCKETS,
    LATENCY_BUCKETS_S,
    BatchHistogram,
    Metrics,
)
from tests.detection.builders import DAY, HOUR, NOON, Bench, event, list_account, only, passed_on

README = Path(__file__).parents[1] / "README.md"


class View:
    """One owned partition as the state metrics see it."""

    def __init__(self, number: int, bench: Bench | None = None) -> None:
        self.number = number
        self.bench = bench or Bench()

    @property
    def tallies(self) -> Tallies:
        return self.bench.state.tallies

    @property
    def rows(self) -> int:
        return len(self.bench.state.profiles)

    @property
    def devices(self) -> int:
        return len(self.bench.state.sharing)

    @property
    def today(self) -> int:
        return self.bench.state.day_of(self.bench.state.stream_ts)

    @property
    def stream_ts(self) -> int:
        return self.bench.state.stream_ts

    @property
    def oldest_pending(self) -> int | None:
        return self.bench.state.book.oldest

    def lag(self) -> dict[str, int]:
        return {"transactions": 3 + self.number, "legs": 0}

    def anomaly(self) -> Iterable[tuple[str, int, bool, float]]:
        return self.bench.state.detectors.status()


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Value by sample name and labels."""
    text = generate_latest(metrics.registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, tuple(sorted(labels.items()))]


def lived() -> Bench:
    """A partition with a payment delayed, one stopped, a repeat, one refused, warnings, a disposition."""
    bench = Bench()
    list_account(bench.context, "POL")
    bench.pay(passed_on(bench))
    stopped = event("stopped", NOON + HOUR, account="6222020000000017", counterparty="POL", amount=500.0)
    bench.pay(stopped, stopped)
    bench.state.tallies.rejected("future")
    warning = bench.state.book.current(b"POL")
    assert warning is not None

    class Word:
        disposition_id, account, outcome, role, ts = "d1", "POL", Outcome.CONFIRMED, Role.MULE, NOON + HOUR
        warning_id = warning.warning_id

    dispose(bench.state.book, bench.state.tallies, Word(), bench.state.stream_ts, listed_by=None)
    return bench


# -- the histogram of whole batches --------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(LATENCY_BUCKETS_S) | st.floats(-1.0, 20.0), max_size=20), max_size=5)
)
def test_a_histogram_of_batches_equals_the_one_of_prometheus_client(batches: list[list[float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    batch = BatchHistogram("latency_seconds", "Latency", LATENCY_BUCKETS_S)
    ours.register(batch)
    plain = Histogram("latency_seconds", "Latency", buckets=LATENCY_BUCKETS_S, registry=theirs)
    for values in batches:
        batch.observe(np.array(values, dtype=np.float64))
        for one in values:
            plain.observe(one)

    def told(registry: CollectorRegistry) -> dict[Any, float]:
        families = text_string_to_metric_families(generate_latest(registry).decode())
        return {
            (sample.name, sample.labels.get("le")): sample.value
            for family in families
            for sample in family.samples
            if not sample.name.endswith("_created")
        }

    wanted = told(theirs)
    found = told(ours)
    total = ("latency_seconds_sum", None)
    assert found.pop(total) == pytest.approx(wanted.pop(total), abs=1e-9)
    assert found == wanted


def test_latencies_are_told_from_a_millisecond_to_ten_seconds() -> None:
    assert (min(LATENCY_BUCKETS_S), max(LATENCY_BUCKETS_S)) == (0.001, 10.0)
    assert list(LATENCY_BUCKETS_S) == sorted(set(LATENCY_BUCKETS_S))
    assert list(BATCH_BUCKETS) == sorted(set(BATCH_BUCKETS))


def test_each_histogram_of_a_worker_counts_its_own() -> None:
    metrics = Metrics("1", "pack", "hash")
    metrics.latency.observe(np.array([0.004, 0.2]))
    metrics.payer_batch.observe(np.array([7.0]))
    assert value(metrics, "stream_guard_latency_seconds_count") == 2
    assert value(metrics, "stream_guard_latency_seconds_bucket", le="0.005") == 1
    assert value(metrics, "stream_guard_payer_batch_events_sum") == 7
    assert value(metrics, "stream_guard_payee_batch_events_count") == 0


# -- what the state says -------------------------------------------------------------------------------


def test_partitions_are_told_one_by_one() -> None:
    views = [View(0, lived()), View(3)]
    metrics = Metrics("1", "pack", "hash", lambda: views, roles={"transactions": "payments"})
    lag = {"role": "payments", "topic": "transactions", "partition": "3"}
    assert value(metrics, "stream_guard_lag", **lag) == 6
    assert value(metrics, "stream_guard_lag", role="legs", topic="legs", partition="3") == 0
    assert value(metrics, "stream_guard_partitions_owned") == 2
    assert value(metrics, "stream_guard_state_rows", partition="0") == views[0].rows > 0
    assert value(metrics, "stream_guard_state_rows", partition="3") == 0
    assert value(metrics, "stream_guard_anomaly_warming_up", partition="0", side="payee") == 1
    assert value(metrics, "stream_guard_anomaly_learned", partition="0", side="payer") > 0
    assert math.isnan(value(metrics, "stream_guard_anomaly_quantile", partition="0", side="payer"))


def test_the_tallies_of_all_partitions_are_told_together() -> None:
    views = [View(0, lived()), View(1, lived())]
    metrics = Metrics("1", "pack", "hash", lambda: views)
    told = {
        "stream_guard_warnings": {"event": "opened"},
        "stream_guard_dispositions": {"outcome": "confirmed"},
        "stream_guard_hits": {"standing": "confirmed"},
        "stream_guard_state_decisions": {"action": "stop"},
        "stream_guard_state_events": {"result": "repeated"},
        "stream_guard_state_rejected": {"reason": "future"},
    }
    found = {name: value(metrics, name, **labels) for name, labels in told.items()}
    assert found == {
        "stream_guard_warnings": 4,
        "stream_guard_dispositions": 2,
        "stream_guard_hits": 2,
        "stream_guard_state_decisions": 2,
        "stream_guard_state_events": 2,
        "stream_guard_state_rejected": 2,
    }
    assert value(metrics, "stream_guard_hits", standing="pending") == 2
    assert value(metrics, "stream_guard_hit_rate") == 1.0
    lower = value(metrics, "stream_guard_hit_rate_interval", bound="lower")
    assert 0 < lower < value(metrics, "stream_guard_hit_rate_interval", bound="upper") <= 1


def test_hits_are_told_by_window_from_the_days_in_the_state() -> None:
    views = [View(0, lived()), View(1, lived()), View(2)]
    metrics = Metrics("1", "pack", "hash", lambda: views)

    def hits(standing: str) -> dict[str, float]:
        return {
            window: value(metrics, "stream_guard_hits_window", window=window, standing=standing)
            for window in ("1d", "7d", "30d", "365d")
        }

    assert hits("confirmed") == {"1d": 2, "7d": 2, "30d": 2, "365d": 2}
    # Ten days later on one of the partitions: the windows of the process move on.
    only(views[1].bench, event("later", NOON + 10 * DAY, account="Z1", counterparty="Z2"))
    assert hits("confirmed") == {"1d": 0, "7d": 0, "30d": 2, "365d": 2}
    assert hits("pending") == {"1d": 0, "7d": 0, "30d": 2, "365d": 2}
    assert value(metrics, "stream_guard_hits", standing="confirmed") == 2


def test_warnings_amounts_and_rule_models_are_told_by_window_too() -> None:
    views = [View(0, lived()), View(1, lived())]
    metrics = Metrics("1", "pack", "hash", lambda: views)
    only(views[1].bench, event("later", NOON + 10 * DAY, account="Z1", counterparty="Z2"))

    def told(name: str, **labels: str) -> list[float]:
        return [value(metrics, f"stream_guard_{name}", window=window, **labels) for window in ("7d", "30d")]

    assert told("warnings_window", event="opened") == [0, 4]
    assert told("warnings_window", event="closed_by_expiry") == [0, 0]
    assert told("amount_intercepted_window", part="total") == [0, 157_000]
    assert told("amount_intercepted_window", part="confirmed") == [0, 1_000]
    name, labels = "stream_guard_hits_by_rule_window", (("rule", "listed-payee@1"), ("standing", "confirmed"))
    assert samples(metrics)[name, (*labels, ("window", "30d"))] == 2
    assert (name, (*labels, ("window", "7d"))) not in samples(metrics)


def test_the_oldest_pending_warning_ages_by_the_stream_and_by_the_clock_while_no_payment_comes() -> None:
    clock = [100.0]
    bench = lived()
    metrics = Metrics("1", "pack", "hash", lambda: [View(0, bench), View(1)], clock=lambda: clock[0])

    def age() -> float:
        return value(metrics, "stream_guard_warnings_oldest_pending_seconds")

    # M was warned about at NOON + 1 h, which is also the newest payment; POL is disposed of.
    assert age() == 0
    clock[0] += 90
    assert age() == 90
    only(bench, event("next", NOON + 3 * HOUR, account="Z1", counterparty="Z2"))
    assert age() == 2 * 3600
    clock[0] += 1
    assert age() == 2 * 3600 + 1


def test_without_a_pending_warning_none_is_old() -> None:
    metrics = Metrics("1", "pack", "hash", lambda: [View(0)], clock=lambda: 5.0)
    assert value(metrics, "stream_guard_warnings_oldest_pending_seconds") == 0


def test_memory_is_told_beside_what_may_be_used() -> None:
    bound = value(
        Metrics("1", "pack", "hash", memory_bound=1 << 40), "stream_guard_memory_bytes", part="bound"
    )
    assert bound == 1 << 40
    of_the_machine = Metrics("1", "pack", "hash")
    resident = value(of_the_machine, "stream_guard_memory_bytes", part="resident")
    assert 1 << 20 < resident < value(of_the_machine, "stream_guard_memory_bytes", part="bound")


def test_counts_begin_at_zero_so_that_a_rate_sees_the_first_event() -> None:
    metrics = Metrics("1", "pack", "hash")
    metrics.expect_dead_letters(["transactions"])
    assert value(metrics, "stream_guard_decisions_total", action="stop") == 0
    assert value(metrics, "stream_guard_alerts_total", status="opened") == 0
    assert value(metrics, "stream_guard_dead_letters_total", topic="transactions", reason="future") == 0


def test_hits_are_told_by_rule_model_and_version_and_do_not_add_up_to_the_whole() -> None:
    metrics = Metrics("1", "pack", "hash", lambda: [View(0, lived())])
    hits = {
        labels: number
        for (name, labels), number in samples(metrics).items()
        if name == "stream_guard_hits_by_rule"
    }
    confirmed = {
        dict(labels)["rule"]: n for labels, n in hits.items() if dict(labels)["standing"] == "confirmed" and n
    }
    assert confirmed == {"police-listed-payee@1": 1, "listed-payee@1": 1}
    assert value(metrics, "stream_guard_hits", standing="confirmed") == 1
    by_rule = value(
        metrics, "stream_guard_warnings_by_rule", rule="rapid-in-out@1", severity="low", event="opened"
    )
    assert by_rule == 1


def test_the_amount_intercepted_is_told_with_its_parts() -> None:
    metrics = Metrics("1", "pack", "hash", lambda: [View(0, lived())])
    parts = {
        part: value(metrics, "stream_guard_amount_intercepted", part=part)
        for part in ("total", "confirmed", "released", "undecided")
    }
    assert parts == {"total": 78_500.0, "confirmed": 500.0, "released": 0.0, "undecided": 78_000.0}


def test_no_hit_rate_is_told_before_a_warning_was_disposed_of() -> None:
    metrics = Metrics("1", "pack", "hash", lambda: [View(0)])
    assert not [name for name, _ in samples(metrics) if name == "stream_guard_hit_rate"]


def test_a_partition_that_was_given_up_is_told_no_more() -> None:
    views = [View(0, lived())]
    metrics = Metrics("1", "pack", "hash", lambda: views)
    assert value(metrics, "stream_guard_hits", standing="confirmed") == 1
    views.clear()
    assert value(metrics, "stream_guard_hits", standing="confirmed") == 0
    assert not [labels for name, labels in samples(metrics) if name == "stream_guard_state_rows"]


def test_the_build_is_told_with_its_pack() -> None:
    metrics = Metrics("0.1.0", "bank-core@2026.11.1", "7224d31da08b")
    labels = {"version": "0.1.0", "pack": "bank-core@2026.11.1", "pack_hash": "7224d31da08b"}
    assert value(metrics, "stream_guard_build_info", **labels) == 1


def test_two_workers_of_one_process_do_not_share_their_figures() -> None:
    one, other = Metrics("1", "pack", "hash"), Metrics("1", "pack", "hash")
    one.events_in.inc(5)
    assert value(one, "stream_guard_events_in_total") == 5
    assert value(other, "stream_guard_events_in_total") == 0


# -- documentation -------------------------------------------------------------------------------------


def everything() -> Metrics:
    """A worker's metrics after everything that can be counted was."""
    metrics = Metrics("1", "pack", "hash", lambda: [View(0, lived())])
    metrics.dead_letters.labels("transactions", "future").inc()
    metrics.decisions.labels("stop").inc()
    metrics.rules.labels("rapid-in-out@1", "fired").inc()
    metrics.recovery.labels("0").set(1.0)
    metrics.snapshots.labels("written").inc()
    metrics.signals.labels("police").set(1)
    metrics.policy.labels("interception_budget").set(1e6)
    metrics.last_exit.labels("stopped").set(1)
    return metrics


def documented() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Kind and labels by name, from the README's table."""
    rows = re.findall(
        r"^\| `(stream_guard_\w+)` \| (\w+) \| ([\w, ]*?) *\| (.+) \|$",
        README.read_text(encoding="utf-8"),
        re.M,
    )
    assert all(meaning.strip() for _, _, _, meaning in rows)
    names = [name for name, _, _, _ in rows]
    assert len(set(names)) == len(names), "a metric stands in the README's table twice"
    return {name: (kind, tuple(labels.split(", ")) if labels else ()) for name, kind, labels, _ in rows}


def exposed() -> dict[str, tuple[str, set[str]]]:
    found: dict[str, tuple[str, set[str]]] = {}
    for family in everything().registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = (family.type, labels)
    return found


def test_every_metric_stands_in_the_readmes_table_with_its_kind_and_labels_and_nothing_else_does() -> None:
    ours = exposed()
    table = {name: (kind, set(labels)) for name, (kind, labels) in documented().items()}
    assert sorted(ours) == sorted(table)
    assert {name: told for name, told in ours.items() if told != table[name]} == {}


def test_every_metric_has_a_sentence_and_our_prefix() -> None:
    for family in everything().registry.collect():
        assert family.name.startswith("stream_guard_")
        assert len(family.documentation) > 10
        assert family.documentation[0].isupper() or family.documentation[0].isdigit()


def test_no_label_holds_an_account_an_event_or_a_device() -> None:
    metrics = everything()
    allowed = {
        "version", "pack", "pack_hash", "topic", "reason", "action", "rule", "result", "partition", "source",
        "window", "side", "severity", "event", "outcome", "standing", "bound", "part", "le",
        "role", "status", "cause", "setting",
    }  # fmt: skip
    for name, labels in samples(metrics):
        for label, text in labels:
            assert label in allowed, name
            assert text not in {"POL", "M", "X1", "S1", "6222020000000017", "estopped", "e1-out"}, name
            assert not re.fullmatch(r"\d{6,}", text), name
    # `event` is what happened to a warning, never an event's id.
    events = {dict(labels)["event"] for name, labels in samples(metrics) if "event" in dict(labels)}
    assert events <= {"opened", "updated", "escalated", "closed_by_disposition", "closed_by_expiry"}


def test_a_payment_that_is_only_allowed_changes_no_label() -> None:
    bench = Bench()
    metrics = Metrics("1", "pack", "hash", lambda: [View(0, bench)])
    only(bench, event(1))
    before = set(samples(metrics))
    for number in range(2, 30):
        only(bench, event(number, NOON + number, account=f"A{number}", counterparty=f"B{number}"))
    assert set(samples(metrics)) == before
