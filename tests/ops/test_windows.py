"""The figures of the windows, recorded by Prometheus over two processes, are those of the backtest."""

from __future__ import annotations

import csv
import gzip
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from prometheus_client.exposition import generate_latest

from stream_guard.backtest import Inputs, account_labels, period, run
from stream_guard.detection import pipeline
from stream_guard.detection.bank import Bank
from stream_guard.detection.columns import payments
from stream_guard.detection.hashing import murmur2_partition
from stream_guard.detection.policy import load_policy
from stream_guard.detection.state import Context, PartitionState
from stream_guard.detection.vocabulary import Outcome, Role
from stream_guard.detection.warning_book import WarningBook
from stream_guard.events import AccountUpdate, parse_account_update, parse_transactions
from stream_guard.feedback.dispositions import dispose
from stream_guard.feedback.tallies import Tallies
from stream_guard.history import History, account_updates
from stream_guard.metrics import Metrics
from stream_guard.simulation import write_history
from stream_guard.streaming.partition import Partition
from tests.detection.builders import POLICY_TEXT, SHIPPED_ANOMALY, pack
from tests.kafka.bank import wait_until
from tests.ops.prometheus import Prometheus

PARTITIONS = 4
ZONE = ZoneInfo("Asia/Shanghai")
DAY_MS = 86_400_000
END_MS = 1_762_142_400_000
"""12:00 in Shanghai on 3 November 2025, after a week with much fraud."""


def a_context() -> Context:
    return Context(
        bank=Bank(partitions=PARTITIONS),
        pack=pack(),
        policy=load_policy(POLICY_TEXT, "policy.yaml", deadline_ms=0),
        anomaly=SHIPPED_ANOMALY,
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """37 days of a simulated bank's history, without devices: nobody brings their sightings round here."""
    folder = tmp_path_factory.mktemp("windows")
    history, accounts = folder / "history.parquet", folder / "accounts.csv.gz"
    write_history(
        history, accounts, seed=11, end_ms=END_MS + 21 * DAY_MS, days=200, accounts=400, repeats=2, zone=ZONE
    )
    table = pq.read_table(history).drop_columns(["device_id", "ip"])
    ts = table["ts"].cast("int64").to_numpy()
    pq.write_table(table.filter(np.array((ts > END_MS - 37 * DAY_MS) & (ts <= END_MS))), history)
    return history, accounts


@dataclass
class Disposition:
    """What an investigator who knows the labels writes."""

    disposition_id: str
    warning_id: str
    account: str
    outcome: Outcome
    role: Role | None
    ts: int


class Live:
    """Four partitions of a worker that goes into service at `begin`, one payment in flight at a time."""

    def __init__(self, files: tuple[Path, Path], begin: int) -> None:
        self.context = a_context()
        self.states = [PartitionState(self.context) for _ in range(PARTITIONS)]
        self.opened: dict[str, Any] = {}
        self.in_fraud: set[str] = set()
        self.active: set[str] = set()
        history = History(files[0])
        first = history.first_ts()
        assert first is not None
        for update in account_updates(files[1], first):
            fact = parse_account_update(orjson.dumps(update))
            assert isinstance(fact, AccountUpdate)
            self.home(fact.account).profiles.update_facts(
                fact.account.encode(), fact.ts, fact.opened, fact.holder_birth_year, fact.kind, None
            )
        in_service = False
        for number, row in enumerate(row for batch in history.batches() for row in batch.rows):
            if row["ts"] >= begin and not in_service:
                in_service = True
                for state in self.states:
                    state.tallies = Tallies()
                    state.book = WarningBook(self.context.policy, state.tallies, state.day_of)
                self.opened.clear()
            if in_service:
                self.active |= {row["account"], row["counterparty"]}
            self.pay(number, row)

    def home(self, account: str) -> PartitionState:
        return self.states[murmur2_partition(account.encode(), PARTITIONS)]

    def pay(self, number: int, row: dict[str, Any]) -> None:
        source = murmur2_partition(row["account"].encode(), PARTITIONS)
        events, _, refused = parse_transactions([orjson.dumps(row)])
        assert not refused
        columns, refused = payments(
            events, [number], [row["ts"]], [row["account"].encode()], source, self.context.bank, END_MS
        )
        assert not refused
        legs, refused = pipeline.payer_leg(columns, source, self.states[source])
        if refused:
            return
        decided = pipeline.payee_leg(legs, self.states[int(columns.partition[0])], END_MS)
        alerts = decided.alerts
        for case in decided.cases:
            alerts = alerts + pipeline.apply_case(case, self.home(case.account))
        for alert in alerts:
            self.opened.setdefault(alert.warning_id, alert)

    def investigate(self, outcomes: dict[str, Outcome]) -> None:
        """Dispose of every warning about these accounts, dated by its opening."""
        for alert in self.opened.values():
            outcome = outcomes.get(alert.account)
            if outcome is not None:
                role = Role.MULE if outcome is Outcome.CONFIRMED else None
                word = Disposition(
                    alert.warning_id, alert.warning_id, alert.account, outcome, role, alert.opened_at
                )
                state = self.home(alert.account)
                dispose(state.book, state.tallies, word, state.stream_ts, listed_by=None)

    def processes(self) -> list[Metrics]:
        """Two workers with two partitions each."""
        views = [
            Partition(number, PARTITIONS, state, self.context.bank.routing_hash(), "sightings", "here")
            for number, state in enumerate(self.states)
        ]
        return [
            Metrics("1", "pack", "hash", lambda mine=views[0::2]: mine),  # type: ignore[misc]
            Metrics("1", "pack", "hash", lambda mine=views[1::2]: mine),  # type: ignore[misc]
        ]


@contextmanager
def serving(metrics: Metrics) -> Iterator[str]:
    """Serve a worker's page; host:port."""
    page = generate_latest(metrics.registry)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def known(accounts: Path) -> dict[str, str]:
    """Role of each account of the file."""
    with gzip.open(accounts, "rt", encoding="utf-8") as file:
        return {row["account"]: row["role"] for row in csv.DictReader(file)}


def in_fraud(history: Path, begin: int) -> set[str]:
    """Parties to a fraudulent payment from `begin` on."""
    table = pq.read_table(history, columns=["ts", "account", "counterparty", "is_fraud"])
    ts = table["ts"].cast("int64").to_numpy()
    chosen = table.filter(np.array((ts >= begin) & (table["is_fraud"].to_numpy() == 1)))
    return {*chosen["account"].to_pylist(), *chosen["counterparty"].to_pylist()}


def recorded(folder: Path, pages: Sequence[Metrics], window: str) -> dict[str, float]:
    """What Prometheus records of a window over all processes."""
    name = f'{{rule="all",window="{window}"}}'
    with (
        serving(pages[0]) as one,
        serving(pages[1]) as other,
        Prometheus(folder, [one, other]) as prometheus,
    ):

        def value(expression: str) -> float:
            (sample,) = prometheus.query(expression)
            return sample.value

        upper = f"rule_window:stream_guard_hit_rate:upper{name}"
        wait_until(lambda: len(prometheus.query("up == 1")) == 2, "both are scraped")
        # Rules are evaluated in turns: from the next one on, all rest on both pages.
        time.sleep(2)
        wait_until(lambda: bool(prometheus.query(upper)), "the rules are evaluated")
        hits = prometheus.query(f"rule_window:stream_guard_hits:sum{name}")
        found = {sample.labels["standing"]: sample.value for sample in hits}
        for figure in ("ratio", "lower", "upper"):
            found[figure] = value(f"rule_window:stream_guard_hit_rate:{figure}{name}")
        found["opened"] = value(f'window:stream_guard_warnings:sum{{window="{window}",event="opened"}}')
        return found


@pytest.mark.parametrize(("window", "days"), [("7d", 7), ("30d", 30), ("365d", 35)])
def test_a_window_tells_what_the_backtest_of_its_days_says(
    files: tuple[Path, Path], tmp_path: Path, window: str, days: int
) -> None:
    """The worker goes into service where the window begins, as the backtest judges from there on."""
    last_day = datetime.fromtimestamp(END_MS / 1000, ZONE).replace(hour=0, minute=0)
    start = last_day - timedelta(days=days - 1)
    begin = round(start.timestamp() * 1000)
    live = Live(files, begin)
    roles, guilty = known(files[1]), in_fraud(files[0], begin)
    live.investigate(
        {
            account: Outcome.CONFIRMED if role == "mule" and account in guilty else Outcome.FALSE_POSITIVE
            for account, role in roles.items()
            if role != "victim" and account in live.active
        }
    )
    history = History(files[0])
    first, last = history.first_ts(), history.last_ts()
    assert first is not None
    assert last is not None
    judged = period(first, last, ZONE, begin=start.date().isoformat(), until=None)
    inputs = Inputs(history, judged, tuple(account_updates(files[1], first)), account_labels(files[1]))
    said = run(inputs, a_context()).document
    found = recorded(tmp_path, live.processes(), window)
    assert found["opened"] == said["warnings"] > 0
    assert found["confirmed"] == said["hits"] > 0
    assert found["false_positive"] == said["false_positives"]
    assert found["pending"] == said["on_victims"] + said["on_unlisted"]
    assert found["ratio"] == pytest.approx(said["hit_rate"], abs=1e-9)
    assert (found["lower"], found["upper"]) == pytest.approx(said["hit_rate_interval"], abs=1e-7)
