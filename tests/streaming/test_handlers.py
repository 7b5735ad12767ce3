"""What becomes of the records of each topic: decided, counted, grouped, or refused with their position."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.exposition import generate_latest

from stream_guard.alerts import Alert, Decision
from stream_guard.detection import pipeline
from stream_guard.detection.findings import Finding
from stream_guard.detection.hashing import murmur2_partition
from stream_guard.detection.profiles import Profiles
from stream_guard.detection.rules import CompiledPack, RuleResults
from stream_guard.detection.state import Context, PartitionState
from stream_guard.detection.vocabulary import Action, SignalSource
from stream_guard.metrics import Metrics
from stream_guard.streaming import handlers as module
from stream_guard.streaming.dead_letters import MAX_VALUE
from stream_guard.streaming.handlers import Handlers, TopicNames
from stream_guard.streaming.legs import decode
from stream_guard.streaming.partition import LegGap, Partition
from stream_guard.streaming.state import Record, StateRefused
from tests.detection.builders import (
    DAY,
    EAGER_ANOMALY,
    HOUR,
    NOON,
    NOW,
    Event,
    context,
    event,
    key_on,
    list_account,
    ordinary,
)
from tests.streaming.helpers import LogRecord

PARTITIONS = 2
NAMES = TopicNames(
    transactions="payments",
    dispositions="outcomes",
    account_updates="facts",
    legs="app-legs",
    cases="app-cases",
    sightings="app-sightings",
    decisions="decisions",
    alerts="alerts",
    dead_letters="dead-letters",
    risk_signals="risk-signals",
)

Put = tuple[str, int, bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]


class Delivered:
    """A delivery that needs no waiting."""

    def done(self) -> bool:
        return True


class Outputs:
    """Keeps what is put."""

    def __init__(self) -> None:
        self.puts: list[Put] = []

    def put(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Any = ()
    ) -> Any:
        self.puts.append((topic, partition, key, value, tuple(headers)))
        return Delivered()


class Bank:
    """Every partition of a small bank in one process: what one hop sends, `flow` hands to the next."""

    def __init__(self, where: Context | None = None, fallback: Action = Action.CONFIRM) -> None:
        self.context = where or context(partitions=PARTITIONS)
        self.outputs = Outputs()
        self.values: dict[tuple[int, int], bytes | None] = {}
        self.metrics = Metrics("1", "pack", "hash")
        self.now = NOW
        outputs: Any = self.outputs
        self.handlers = Handlers(
            self.context,
            NAMES,
            outputs,
            dict.fromkeys(NAMES, PARTITIONS),
            self.metrics,
            lambda: self.now,
            fallback,
            self,
        )
        bank = self.context.bank
        self.partitions = [
            Partition(
                number,
                bank.partitions,
                PartitionState(self.context),
                bank.routing_hash(),
                NAMES.sightings,
                "lineage",
            )
            for number in range(PARTITIONS)
        ]
        self.offsets: dict[tuple[str, int], int] = {}
        self.seen = 0

    def bring(self, partition: int, offset: int, then: Callable[[bytes | None], Any]) -> Any:
        """The values that came: what the handlers ask for a dead letter's original."""
        return then(self.values.get((partition, offset)))

    # -- giving ----------------------------------------------------------------------------------------

    def records(
        self, topic: str, number: int, *pairs: tuple[bytes | None, bytes | None], at: int
    ) -> list[Any]:
        first = self.offsets.get((topic, number), 0)
        self.offsets[topic, number] = first + len(pairs)
        return [LogRecord(first + i, value, key, timestamp=at) for i, (key, value) in enumerate(pairs)]

    def transactions(
        self, number: int, *values: bytes | None, keys: list[bytes | None] | None = None, at: int = NOON
    ) -> None:
        """Values on one partition, keyed by their payer unless `keys` say otherwise."""
        chosen = [payer_of(value) for value in values] if keys is None else keys
        pairs = list(zip(chosen, values, strict=True))
        records = self.records(NAMES.transactions, number, *pairs, at=at)
        self.values.update({(number, record.offset): record.value for record in records})
        self.handlers.transactions(self.partitions[number], records)

    def pay(self, *events: Event, at: int = NOON) -> list[dict[str, Any]]:
        """Payments through both hops, in batches by payer's partition; the decisions."""
        for number in range(PARTITIONS):
            mine = [one for one in events if murmur2_partition(one["account"].encode(), PARTITIONS) == number]
            if mine:
                self.transactions(number, *(json.dumps(one).encode() for one in mine), at=at)
        return self.flow()

    def flow(self) -> list[dict[str, Any]]:
        """Hand on what waits: frames to the second hop, cases to the third step."""
        puts, self.outputs.puts = self.outputs.puts, []
        for number in range(PARTITIONS):
            frames = [
                (key, value) for topic, to, key, value, _ in puts if (topic, to) == (NAMES.legs, number)
            ]
            if frames:
                records = self.records(NAMES.legs, number, *frames, at=NOON)
                self.handlers.legs(self.partitions[number], records)
        kept = [put for put in puts if put[0] != NAMES.legs]
        self.outputs.puts = kept + self.outputs.puts
        return self.decisions()

    def cases(self) -> None:
        """Bring the cases of all partitions home."""
        waiting = []
        for partition in self.partitions:
            waiting += [record for record in partition.records if record.topic == NAMES.cases]
            partition.records = [record for record in partition.records if record.topic != NAMES.cases]
        for record in waiting:
            number = murmur2_partition(record.key, PARTITIONS)
            given = self.records(NAMES.cases, number, (record.key, record.value), at=NOON)
            self.handlers.cases(self.partitions[number], given)

    def dispose(self, *values: bytes | None, number: int, keys: list[bytes | None]) -> None:
        pairs = list(zip(keys, values, strict=True))
        self.handlers.dispositions(
            self.partitions[number], self.records(NAMES.dispositions, number, *pairs, at=NOON)
        )

    def update(self, *values: bytes | None, number: int, keys: list[bytes | None]) -> None:
        pairs = list(zip(keys, values, strict=True))
        self.handlers.account_updates(
            self.partitions[number], self.records(NAMES.account_updates, number, *pairs, at=NOON)
        )

    # -- looking ---------------------------------------------------------------------------------------

    def put_on(self, topic: str) -> list[Put]:
        return [put for put in self.outputs.puts if put[0] == topic]

    def decisions(self) -> list[dict[str, Any]]:
        """New since the last call."""
        puts = self.put_on(NAMES.decisions)
        new, self.seen = puts[self.seen :], len(puts)
        return [json.loads(value or b"") for _, _, _, value, _ in new]

    def letters(self) -> list[tuple[str, str, int, int]]:
        """Reason, topic, partition and offset of every dead letter."""
        out = []
        for _, _, _, _, headers in self.put_on(NAMES.dead_letters):
            told = {name: text.decode() for name, text in headers}
            out.append((told["reason"], told["topic"], int(told["partition"]), int(told["offset"])))
        return out

    def queued(self, topic: str) -> list[Record]:
        """Records that go with the next flush."""
        return [record for one in self.partitions for record in one.records if record.topic == topic]

    def alerts(self) -> list[Alert]:
        return [Alert.model_validate_json(record.value or b"") for record in self.queued(NAMES.alerts)]

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def payer_of(value: bytes | None) -> bytes | None:
    try:
        return str(json.loads(value or b"")["account"]).encode()
    except (ValueError, KeyError, TypeError):
        return HOME[0].encode()


HOME = [key_on(number, PARTITIONS) for number in range(PARTITIONS)]
"""An account of each partition."""
AWAY = [key_on(number, PARTITIONS, "B") for number in range(PARTITIONS)]


def paid(number: int | str, ts: int = NOON, **fields: Any) -> Event:
    """A payment within partition 0."""
    return event(number, ts, **{"account": HOME[0], "counterparty": AWAY[0], **fields})


def text(one: Event) -> bytes:
    return json.dumps(one).encode()


# -- transactions --------------------------------------------------------------------------------------


def test_a_payment_goes_to_its_payees_partition_and_is_decided_there() -> None:
    bank = Bank()
    bank.transactions(0, text(paid(1, counterparty=AWAY[1])), text(paid(2)))
    assert [(topic, number, key) for topic, number, key, _, _ in bank.outputs.puts] == [
        (NAMES.legs, 0, None),
        (NAMES.legs, 1, None),
    ]
    frame = bank.outputs.puts[1][3]
    legs = decode([frame or b""])
    assert legs is not None
    assert (legs.source_partition.tolist(), legs.offset.tolist(), legs.previous.tolist()) == ([0], [0], [-1])
    told = bank.flow()
    assert {one["event_id"]: one["action"] for one in told} == {"e1": "allow", "e2": "allow"}
    for _, number, key, value, headers in bank.put_on(NAMES.decisions):
        Decision.model_validate_json(value or b"")
        assert key == HOME[0].encode()
        assert number == murmur2_partition(key, PARTITIONS)
        assert headers == (("schema", b"1"),)


def test_bad_records_are_dead_letters_with_their_position_and_the_good_ones_are_decided() -> None:
    bank = Bank()
    bad = {
        b"": "empty",
        b"{": "not_json",
        b'{"event_id":"\xff\xfe"}': "not_utf8",
        text(paid(3)).replace(b"100.0", b"NaN"): "invalid",
        text(paid(4, amount=0.0)): "invalid",
        text(paid(5, amount=-5.0)): "invalid",
        text(paid(6, amount=10.0**12)): "invalid",
        text(paid(7, event_id="")): "invalid",
        text(paid(8, amount="100")): "invalid",
        text(paid(9, currency="XXX")): "unknown_currency",
        text(paid(10, ts=NOW + DAY)): "future",
        text(paid(11, note="x" * 2_000_000)): "too_large",
    }
    good = [paid(f"good-{i}", NOON + i) for i in range(len(bad))]
    values: list[bytes] = []
    for one, value in zip(good, bad, strict=True):
        values += [text(one), value]
    bank.transactions(0, *values, keys=[HOME[0].encode()] * len(values))
    told = bank.flow()
    assert [one["event_id"] for one in told] == [one["event_id"] for one in good]
    found = {offset: reason for reason, topic, partition, offset in bank.letters()}
    assert found == {2 * i + 1: reason for i, reason in enumerate(bad.values())}
    assert {(topic, number) for _, topic, number, _ in bank.letters()} == {(NAMES.transactions, 0)}
    assert bank.metric("stream_guard_events_in_total") == len(values)
    assert bank.metric("stream_guard_events_decided_total") == len(good)
    invalid = bank.metric("stream_guard_dead_letters_total", topic=NAMES.transactions, reason="invalid")
    assert invalid == 6
    assert bank.partitions[0].tallies.counts("rejected")["invalid"] == 6


def test_a_record_without_a_value_is_a_dead_letter_without_one() -> None:
    bank = Bank()
    bank.transactions(0, None)
    ((_, _, _, value, headers),) = bank.put_on(NAMES.dead_letters)
    assert value is None
    assert dict(headers)["reason"] == b"empty"


def test_a_dead_letter_holds_the_original_bytes_cut_at_64_kib_and_says_what_they_were() -> None:
    bank = Bank()
    value = b"{" + b"x" * 100_000
    bank.transactions(0, value)
    ((_, number, key, body, headers),) = bank.put_on(NAMES.dead_letters)
    told = dict(headers)
    assert (number, key, body) == (0, None, value[:MAX_VALUE])
    assert told["length"] == b"100001"
    assert told["sha256"] == hashlib.sha256(value).hexdigest().encode()
    assert told["message"]


def test_the_same_records_again_give_the_same_dead_letters() -> None:
    once, again = Bank(), Bank()
    again.now += 10 * DAY
    values = [b"{", text(paid(1)), text(paid(2, amount=-1.0)), text(paid(3, ts=NOON + HOUR))]
    for bank in (once, again):
        # A future event is judged by its record's time, so that reading it again judges it the same.
        bank.transactions(0, *values, at=NOON)
        bank.flow()
    assert once.put_on(NAMES.dead_letters) == again.put_on(NAMES.dead_letters)
    assert [reason for reason, *_ in once.letters()] == ["not_json", "invalid", "future"]


def test_a_key_that_is_not_the_payer_is_refused() -> None:
    bank = Bank()
    keys: list[bytes | None] = [HOME[0].encode(), AWAY[0].encode(), None, b""]
    bank.transactions(0, *(text(paid(i)) for i in range(4)), keys=keys)
    assert [one["event_id"] for one in bank.flow()] == ["e0"]
    assert bank.letters() == [("wrong_key", NAMES.transactions, 0, offset) for offset in (1, 2, 3)]


def test_a_record_on_the_wrong_partition_is_refused() -> None:
    bank = Bank()
    bank.transactions(1, text(paid(1)), keys=[HOME[0].encode()])
    assert bank.letters() == [("wrong_partition", NAMES.transactions, 1, 0)]
    assert bank.flow() == []
    message = dict(bank.put_on(NAMES.dead_letters)[0][4])["message"].decode()
    assert "partitioner=murmur2_random" in message


def test_conflicting_ids_are_refused_between_good_ones() -> None:
    bank = Bank()
    stream = [paid(1), paid(2), paid(1, amount=7.0), paid(3), paid(2, type="atm"), paid(2)]
    told = bank.pay(*stream)
    assert [(one["event_id"], one["repeat"]) for one in told] == [
        ("e1", False),
        ("e2", False),
        ("e3", False),
        ("e2", True),
    ]
    assert bank.letters() == [("conflicting_id", NAMES.transactions, 0, offset) for offset in (2, 4)]
    assert bank.metric("stream_guard_events_duplicate_total") == 1


def test_refusals_of_every_stage_name_their_own_records() -> None:
    # Parsing, the bank's checks and the payer's row each see fewer records than the one before.
    bank = Bank()
    values = [
        b"{",
        text(paid(1)),
        text(paid(2, currency="XXX")),
        text(paid(1, amount=3.0)),
        text(paid(3, NOON - 32 * DAY)),
        text(paid(4)),
    ]
    bank.transactions(0, *values, keys=[HOME[0].encode()] * len(values))
    assert sorted(bank.letters(), key=lambda letter: letter[3]) == [
        ("not_json", NAMES.transactions, 0, 0),
        ("unknown_currency", NAMES.transactions, 0, 2),
        ("conflicting_id", NAMES.transactions, 0, 3),
        ("too_old", NAMES.transactions, 0, 4),
    ]
    for _, _, _, body, headers in bank.put_on(NAMES.dead_letters):
        assert body == values[int(dict(headers)["offset"])]
    assert [one["event_id"] for one in bank.flow()] == ["e1", "e4"]
    legs = [leg for leg in bank.partitions[0]._sent.tolist() if leg >= 0]
    assert legs == [5]


def test_a_conflict_of_a_payer_that_is_no_account_is_a_dead_letter_of_the_transactions_own_record() -> None:
    bank = Bank()
    till = "EXT_TILL"
    home = murmur2_partition(till.encode(), PARTITIONS)
    to = AWAY[1 - home]
    events = [paid(1, account=till, counterparty=to), paid(1, account=till, counterparty=to, amount=5.0)]
    bank.transactions(home, *map(text, events))
    told = bank.flow()
    assert [one["amount"] for one in told] == [100.0]
    assert bank.letters() == [("conflicting_id", NAMES.transactions, home, 1)]
    body = json.loads(bank.put_on(NAMES.dead_letters)[0][3] or b"")
    assert {name: body[name] for name in ("event_id", "account", "amount")} == {
        "event_id": "e1",
        "account": till,
        "amount": 5.0,
    }


# -- legs ----------------------------------------------------------------------------------------------


def test_frames_that_come_again_decide_nothing_again() -> None:
    bank = Bank()
    bank.transactions(0, text(paid(1)), text(paid(2)))
    (frame,) = bank.put_on(NAMES.legs)
    assert len(bank.flow()) == 2
    bank.outputs.puts.append(frame)
    assert bank.flow() == []
    assert bank.metric("stream_guard_leg_repeats_total") == 2
    assert bank.metric("stream_guard_events_decided_total") == 2


def test_a_missing_frame_is_never_passed_over() -> None:
    bank = Bank()
    bank.transactions(0, text(paid(1)))
    bank.outputs.puts.clear()
    bank.transactions(0, text(paid(2)))
    with pytest.raises(LegGap):
        bank.flow()


def test_many_legs_are_decided_in_pieces_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = [
        dict(one, account=HOME[i % 2], counterparty=AWAY[i // 2 % 2]) for i, one in enumerate(ordinary(40))
    ]
    whole, pieces = (Bank(context(partitions=PARTITIONS, anomaly=EAGER_ANOMALY)) for _ in range(2))
    wanted = whole.pay(*stream)
    monkeypatch.setattr(module, "LEGS_AT_ONCE", 3)
    assert pieces.pay(*stream) == wanted
    for one, other in zip(whole.partitions, pieces.partitions, strict=True):
        assert sorted(one.state.profiles.take_dirty()) == sorted(other.state.profiles.take_dirty())
        assert one.state.detectors.dump() == other.state.detectors.dump()


def test_what_is_found_about_payees_is_an_alert_of_the_next_flush() -> None:
    bank = Bank()
    list_account(bank.context, AWAY[1])
    bank.pay(paid(1, counterparty=AWAY[1]))
    (record,) = bank.queued(NAMES.alerts)
    assert (record.key, record.headers) == (AWAY[1].encode(), (("schema", b"1"),))
    assert record in bank.partitions[1].records
    (alert,) = bank.alerts()
    assert (alert.account, alert.status) == (AWAY[1], "opened")
    assert bank.put_on(NAMES.alerts) == []


def test_what_is_found_about_payers_is_a_case_of_the_next_flush_and_an_alert_at_home() -> None:
    bank = Bank()
    list_account(bank.context, HOME[0])
    bank.pay(paid(1, counterparty=AWAY[1]))
    (record,) = bank.queued(NAMES.cases)
    assert record in bank.partitions[1].records
    assert record.key == HOME[0].encode()
    assert Finding.from_bytes(record.value or b"").account == HOME[0]
    assert bank.alerts() == []
    bank.cases()
    (alert,) = bank.alerts()
    assert (alert.account, str(alert.side)) == (HOME[0], "payer")
    assert bank.partitions[0].records[0].topic == NAMES.alerts
    # Sent again, the payment is answered with what the case brought.
    (again,) = bank.pay(paid(1, counterparty=AWAY[1]))
    assert (again["action"], again["repeat"]) == ("stop", True)


def test_decisions_are_counted_once_each_and_only_the_first() -> None:
    bank = Bank()
    list_account(bank.context, AWAY[0])
    bank.pay(paid(1, amount=250.0), paid(2, counterparty=AWAY[1]))
    bank.pay(paid(1, amount=250.0))
    assert bank.metric("stream_guard_decisions_total", action="stop") == 1
    assert bank.metric("stream_guard_decisions_total", action="allow") == 1
    assert bank.metric("stream_guard_intercepted_base_total") == 250.0
    fired = bank.metric("stream_guard_rule_results_total", rule="police-listed-payee@1", result="fired")
    assert fired == 1
    assert bank.metric("stream_guard_alerts_total", status="opened") == 1
    # The score of the listed payee; the repeat has none of its own.
    assert bank.metric("stream_guard_score_count") == 1
    assert bank.metric("stream_guard_latency_seconds_count") == 3


def test_the_latency_counts_from_the_records_timestamp() -> None:
    bank = Bank()
    bank.now = NOON + 40
    bank.pay(paid(1), at=NOON)
    told = generate_latest(bank.metrics.registry).decode()
    assert "stream_guard_latency_seconds_sum 0.04" in told


# -- our own defects -----------------------------------------------------------------------------------


def test_a_payment_that_cannot_be_evaluated_gets_the_fallback_and_the_others_their_decisions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = [paid(i, NOON + i) for i in range(6)]
    wanted = Bank().pay(*stream)
    evaluate = CompiledPack.evaluate

    def fail(self: CompiledPack, matrix: Any, times: Any, params: Any = None) -> RuleResults:
        if (times == NOON + 3).any():
            raise ZeroDivisionError("a defect of ours")
        return evaluate(self, matrix, times, params)

    monkeypatch.setattr(CompiledPack, "evaluate", fail)
    bank = Bank(fallback=Action.HOLD)
    told = bank.pay(*stream)
    assert [one for one in told if one["event_id"] != "e3"] == [
        one for one in wanted if one["event_id"] != "e3"
    ]
    (fallback,) = [one for one in told if one["event_id"] == "e3"]
    assert (fallback["action"], fallback["score"], fallback["reasons"]) == ("hold", None, [])
    assert bank.letters() == [("processing_failed", NAMES.transactions, 0, 3)]
    assert bank.put_on(NAMES.dead_letters)[0][3] == bank.values[0, 3], "the bytes as they came"


@pytest.mark.parametrize(
    ("hop", "sentence"), [("payer_hop", "at its payer failed"), ("payee_hop", "at its payee failed")]
)
def test_a_payment_that_cannot_be_counted_gets_the_fallback_and_the_others_their_decisions(
    hop: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = [paid(i, NOON + i, account=f"{HOME[0]}") for i in range(5)]
    wanted = Bank().pay(*(one for one in stream if one["event_id"] != "e2"))
    count = getattr(Profiles, hop)

    def fail(self: Profiles, batch: Any, *rest: Any) -> Any:
        if (batch.ts == NOON + 2).any():
            raise MemoryError("a defect of ours")
        return count(self, batch, *rest)

    monkeypatch.setattr(Profiles, hop, fail)
    bank = Bank(fallback=Action.CONFIRM)
    told = bank.pay(*stream)
    (fallback,) = [one for one in told if one["event_id"] == "e2"]
    assert (fallback["action"], fallback["score"], fallback["account"]) == ("confirm", None, HOME[0])
    assert bank.letters() == [("processing_failed", NAMES.transactions, 0, 2)]
    headers = dict(bank.put_on(NAMES.dead_letters)[0][4])
    assert sentence in headers["message"].decode()
    others = [one for one in told if one["event_id"] != "e2"]
    if hop == "payer_hop":
        # It was counted nowhere, so the others are decided as if it had not come.
        assert others == wanted
    else:
        assert [one["event_id"] for one in others] == ["e0", "e1", "e3", "e4"]


def test_a_fallback_that_is_late_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise pipeline.NotCounted("no room")

    monkeypatch.setattr(pipeline, "payer_leg", fail)
    for deadline, late in ((1000, True), (0, False)):
        bank = Bank(context(partitions=PARTITIONS, deadline_ms=deadline))
        bank.transactions(0, text(paid(1)), at=NOW - 1001)
        (fallback,) = bank.decisions()
        assert (fallback["late"], fallback["event_id"]) == (late, "e1")


# -- dispositions --------------------------------------------------------------------------------------


def warned(bank: Bank, account: str = AWAY[1]) -> Alert:
    """A warning about an account of partition 1; it is not listed any more."""
    list_account(bank.context, account)
    bank.pay(paid(f"w-{account}", counterparty=account))
    bank.context.signals.withdraw(f"account:{account}")
    alert = bank.alerts()[-1]
    assert alert.account == account
    for partition in bank.partitions:
        partition.records.clear()
    return alert


def word(alert: Alert, number: int = 1, **fields: Any) -> bytes:
    return json.dumps(
        {
            "disposition_id": f"d{number}",
            "warning_id": alert.warning_id,
            "account": alert.account,
            "outcome": "confirmed",
            "role": "mule",
            "by": "investigator-7",
            "ts": NOON + HOUR + number,
            **fields,
        }
    ).encode()


def test_a_confirmed_mule_closes_its_warning_and_becomes_a_signal_of_the_same_flush() -> None:
    bank = Bank()
    alert = warned(bank)
    bank.dispose(word(alert), number=1, keys=[AWAY[1].encode()])
    (closed,) = bank.alerts()
    assert (closed.warning_id, closed.status, closed.closed_by) == (alert.warning_id, "closed", "disposition")
    (signal,) = bank.queued(NAMES.risk_signals)
    assert signal.key == f"account:{AWAY[1]}".encode()
    value = json.loads(signal.value or b"")
    assert (value["source"], value["id"], value["level"]) == ("disposition", AWAY[1], 90)
    assert value["valid_to"] - value["valid_from"] == 365 * DAY
    assert bank.letters() == []


@pytest.mark.parametrize(
    "fields",
    [
        {"role": "victim"},
        {"outcome": "false_positive", "role": None},
        {"outcome": "inconclusive", "role": None},
    ],
)
def test_nobody_else_is_ever_listed(fields: dict[str, Any]) -> None:
    bank = Bank()
    bank.dispose(word(warned(bank), **fields), number=1, keys=[AWAY[1].encode()])
    assert bank.queued(NAMES.risk_signals) == []
    assert len(bank.alerts()) == 1


def test_a_correction_withdraws_the_signal() -> None:
    bank = Bank()
    alert = warned(bank)
    bank.dispose(word(alert), number=1, keys=[AWAY[1].encode()])
    correction = word(alert, 2, outcome="false_positive", role=None)
    bank.dispose(correction, number=1, keys=[AWAY[1].encode()])
    assert [record.value is None for record in bank.queued(NAMES.risk_signals)] == [False, True]
    assert bank.partitions[1].tallies.hit_rate().false_positive == 1


def test_a_mule_that_shares_a_device_is_listed_as_a_mule() -> None:
    bank = Bank()
    alert = warned(bank)
    list_account(bank.context, AWAY[1], SignalSource.SHARING)
    bank.dispose(word(alert), number=1, keys=[AWAY[1].encode()])
    (signal,) = bank.queued(NAMES.risk_signals)
    assert json.loads(signal.value or b"")["source"] == "disposition"


def test_a_listing_of_somebody_else_is_neither_overwritten_nor_withdrawn() -> None:
    bank = Bank()
    alert = warned(bank)
    list_account(bank.context, AWAY[1], SignalSource.POLICE)
    bank.dispose(word(alert), number=1, keys=[AWAY[1].encode()])
    assert bank.queued(NAMES.risk_signals) == []


def test_the_same_disposition_again_is_a_duplicate_and_no_dead_letter() -> None:
    bank = Bank()
    alert = warned(bank)
    bank.dispose(word(alert), word(alert), number=1, keys=[AWAY[1].encode()] * 2)
    assert len(bank.alerts()) == 1
    assert bank.letters() == []
    assert bank.partitions[1].tallies.counts("dispositions") == {"confirmed": 1}


def test_bad_dispositions_are_dead_letters_and_the_good_one_counts() -> None:
    bank = Bank()
    alert = warned(bank)
    mine = AWAY[1].encode()
    other = key_on(1, PARTITIONS, "C")
    values: list[tuple[bytes | None, bytes | None, str | None]] = [
        (mine, word(alert, 1, warning_id="nothing"), "unknown_warning"),
        (other.encode(), word(alert, 2, account=other), "wrong_account"),
        (mine, b"{", "not_json"),
        (mine, None, "empty"),
        (mine, word(alert, 3, role=None), "invalid"),
        (HOME[1].encode(), word(alert, 4), "wrong_key"),
        (mine, word(alert, 5), None),
        (None, word(alert, 6), "wrong_key"),
    ]
    bank.dispose(*(value for _, value, _ in values), number=1, keys=[key for key, _, _ in values])
    assert bank.letters() == [
        (reason, NAMES.dispositions, 1, offset)
        for offset, (_, _, reason) in enumerate(values)
        if reason is not None
    ]
    assert bank.partitions[1].tallies.hit_rate().confirmed == 1


def test_a_disposition_on_the_wrong_partition_is_refused() -> None:
    bank = Bank()
    alert = warned(bank)
    bank.dispose(word(alert), number=0, keys=[AWAY[1].encode()])
    assert bank.letters() == [("wrong_partition", NAMES.dispositions, 0, 0)]


# -- account updates -----------------------------------------------------------------------------------


def test_facts_reach_the_features_of_their_account() -> None:
    bank = Bank(context(partitions=PARTITIONS, audit=True))
    facts = {"account": HOME[0], "ts": NOON - DAY, "opened": NOON - 10 * DAY, "holder_birth_year": 1950}
    bank.update(text({**facts, "changed": "phone"}), number=0, keys=[HOME[0].encode()])
    (told,) = bank.pay(paid(1))
    assert told["features"]["payer.account_age_d"] == 10.0
    assert told["features"]["payer.holder_age_y"] == 75.0
    assert told["features"]["payer.changed_s"] == 86_400.0
    assert told["features"]["payee.account_age_d"] is None


def test_bad_facts_are_dead_letters_and_the_good_ones_count() -> None:
    bank = Bank(context(partitions=PARTITIONS, audit=True))
    mine = HOME[0].encode()
    good = text({"account": HOME[0], "ts": NOON - DAY, "holder_birth_year": 1950})
    values: list[tuple[bytes | None, bytes | None, str | None]] = [
        (mine, b"[]", "invalid"),
        (mine, text({"account": HOME[0], "ts": NOON, "holder_birth_year": 1500}), "invalid"),
        (mine, text({"account": HOME[0], "ts": NOON, "changed": "name"}), "invalid"),
        (AWAY[0].encode(), good, "wrong_key"),
        (None, good, "wrong_key"),
        (mine, None, "empty"),
        (mine, good, None),
    ]
    bank.update(*(value for _, value, _ in values), number=0, keys=[key for key, _, _ in values])
    assert bank.letters() == [
        (reason, NAMES.account_updates, 0, offset)
        for offset, (_, _, reason) in enumerate(values)
        if reason is not None
    ]
    (told,) = bank.pay(paid(1))
    assert told["features"]["payer.holder_age_y"] == 75.0


def test_facts_on_the_wrong_partition_are_refused() -> None:
    bank = Bank()
    bank.update(text({"account": HOME[0], "ts": NOON}), number=1, keys=[HOME[0].encode()])
    assert bank.letters() == [("wrong_partition", NAMES.account_updates, 1, 0)]
    assert bank.partitions[1].rows == 0


def test_a_case_record_of_a_later_release_is_refused_with_its_position() -> None:
    bank = Bank()
    given = bank.records(NAMES.cases, 0, (b"a", b"[99]"), at=NOON)
    with pytest.raises(
        StateRefused, match=r"app-cases-0 offset \d+ cannot be read: case records are of version 99"
    ):
        bank.handlers.cases(bank.partitions[0], given)
