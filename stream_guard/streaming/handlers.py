"""What is done with the records of each topic: parse, call `detection`, queue what comes out.

Everything here is synchronous and runs under the partition's lock. What cannot be processed goes to the
dead-letter topic with its reason; an exception means a defect and ends the process (see `processor`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import orjson

from stream_guard.alerts import ALERT_HEADERS, DECISION_HEADERS, Alert, encode_alert
from stream_guard.detection import pipeline
from stream_guard.detection.batches import Legs, size, take
from stream_guard.detection.columns import payments
from stream_guard.detection.conclusions import fallback_decision
from stream_guard.detection.findings import Finding
from stream_guard.detection.hashing import murmur2_partition, murmur2_partitions
from stream_guard.detection.sharing import Raised
from stream_guard.detection.state import Context
from stream_guard.detection.vocabulary import Action, Reject, Rejection, SignalSource
from stream_guard.events import (
    RiskSignal,
    Transaction,
    parse_account_update,
    parse_disposition,
    parse_transactions,
)
from stream_guard.feedback.dispositions import Verdict, dispose
from stream_guard.metrics import Metrics
from stream_guard.streaming import legs as frames
from stream_guard.streaming import sightings as wire
from stream_guard.streaming.dead_letters import dead_letter
from stream_guard.streaming.originals import Originals
from stream_guard.streaming.outputs import Delivery, Outputs
from stream_guard.streaming.partition import Partition
from stream_guard.streaming.state import Record, StateRefused

_T = TypeVar("_T")

LEGS_AT_ONCE = 2_000
"""Legs decided in one go: about 10 ms of work, and a matrix of 4 MB."""

_REFUSED_DISPOSITIONS = {
    Verdict.UNKNOWN_WARNING: (
        Reject.UNKNOWN_WARNING,
        "no such warning is kept for this account; closed warnings are kept 90 days",
    ),
    Verdict.WRONG_ACCOUNT: (Reject.WRONG_ACCOUNT, "the warning is about another account"),
}


class TopicNames(NamedTuple):
    """Names of the topics a worker reads in its agents and writes to."""

    transactions: str
    dispositions: str
    account_updates: str
    legs: str
    cases: str
    sightings: str
    decisions: str
    alerts: str
    dead_letters: str
    risk_signals: str


class Handlers:
    """The six handlers of a worker.

    Parameters
    ----------
    context
        What decides.
    topics
        Where outputs go.
    outputs
        Sends decisions, legs and dead letters without waiting.
    partitions_of
        Partition count by topic name.
    metrics
        Counted here.
    wall_ms
        Wall clock in milliseconds.
    fallback
        Decision on a payment that our own defect met.
    originals
        Reads a payment's own record again, for a dead letter from the second hop.
    """

    def __init__(
        self,
        context: Context,
        topics: TopicNames,
        outputs: Outputs,
        partitions_of: Mapping[str, int],
        metrics: Metrics,
        wall_ms: Callable[[], int],
        fallback: Action,
        originals: Originals,
    ) -> None:
        self._originals = originals
        self._context = context
        self._topics = topics
        self._outputs = outputs
        self._partitions_of = partitions_of
        self._metrics = metrics
        self._wall_ms = wall_ms
        self._fallback = fallback
        self._rule_counters = [
            (metrics.rules.labels(key, "fired"), metrics.rules.labels(key, "not_evaluable"))
            for key in context.rule_keys
        ]

    # -- first hop ----------------------------------------------------------------------------------------

    def transactions(self, partition: Partition, records: Sequence[Any]) -> None:
        """Validate payments, count them in their payers' rows, send their legs on."""
        self._metrics.events_in.inc(len(records))
        self._metrics.payer_batch.observe(np.array([len(records)], dtype=np.float64))
        events, kept, refused = parse_transactions(
            [record.value for record in records], self._context.bank.base_currency
        )
        self._refuse(partition, self._topics.transactions, records, refused)
        chosen = records if len(kept) == len(records) else [records[i] for i in kept]
        try:
            self._first_hop(partition, chosen, events)
        except pipeline.NotCounted:
            for record, event in zip(chosen, events, strict=True):
                try:
                    self._first_hop(partition, [record], [event])
                except pipeline.NotCounted as failure:
                    self._fall_back(partition, record, event, str(failure))

    def _first_hop(self, partition: Partition, records: Sequence[Any], events: Sequence[Transaction]) -> None:
        try:
            columns, refused = payments(
                events,
                [record.offset for record in records],
                [record.timestamp for record in records],
                [record.key for record in records],
                partition.number,
                self._context.bank,
                self._wall_ms(),
            )
        except Exception as error:
            raise pipeline.NotCounted(f"reading the payment failed: {error!r}") from error
        accepted = _without(records, refused)
        legs, too_late = pipeline.payer_leg(columns, partition.number, partition.state)
        self._refuse(partition, self._topics.transactions, records, refused)
        self._refuse(partition, self._topics.transactions, accepted, too_late)
        targets = columns.partition
        if too_late:
            keep = np.ones(size(columns), dtype=np.bool_)
            keep[[rejection.index for rejection in too_late]] = False
            targets = targets[keep]
        self._send_legs(partition, legs, targets)
        counted = _without(_without(events, refused), too_late)
        partition.sightings += pipeline.sightings(counted, legs, partition.state)

    def _fall_back(self, partition: Partition, record: Any, event: Transaction, message: str) -> None:
        """A payment that our own defect met in the first hop: dead letter and fallback decision."""
        self._refuse(
            partition, self._topics.transactions, [record], [Rejection(0, Reject.PROCESSING_FAILED, message)]
        )
        self._decide_plainly(
            partition,
            (event["event_id"], event["ts"], event["account"], event["counterparty"]),
            (event["amount"], event["currency"] or self._context.bank.base_currency),
            record.timestamp,
        )

    def _decide_plainly(
        self,
        partition: Partition,
        names: tuple[str, int, str, str],
        money: tuple[float, str],
        produced: int,
    ) -> None:
        now = self._wall_ms()
        deadline = self._context.policy.deadline_ms
        key, value = fallback_decision(
            *names,
            *money,
            action=self._fallback,
            late=0 < deadline < now - produced,
            now_ms=now,
            state=partition.state,
        )
        self._send_decisions(partition, [(key, value)])

    def _send_legs(self, partition: Partition, legs: Legs, targets: Any) -> None:
        if not size(legs):
            return
        legs = partition.chain(legs, targets)
        columns = self._context.first_hop_columns
        for target, value in frames.encode_by_target(legs, targets, columns):
            partition.keep(self._outputs.put(self._topics.legs, target, None, value))

    # -- second hop ---------------------------------------------------------------------------------------

    def legs(self, partition: Partition, records: Sequence[Any]) -> None:
        """Decide the payments whose legs arrived."""
        legs = frames.decode([record.value for record in records])
        if legs is None:
            return
        fresh = partition.fresh_legs(legs)
        repeats = size(legs) - len(fresh)
        if repeats:
            self._metrics.leg_repeats.inc(repeats)
            legs = take(legs, fresh)
        if size(legs) <= LEGS_AT_ONCE:
            self._second_hop(partition, legs)
            return
        for start in range(0, size(legs), LEGS_AT_ONCE):
            some = np.arange(start, min(start + LEGS_AT_ONCE, size(legs)))
            self._second_hop(partition, take(legs, some))

    def _second_hop(self, partition: Partition, legs: Legs) -> None:
        try:
            self._decide(partition, legs)
        except pipeline.NotCounted:
            for position in range(size(legs)):
                try:
                    self._decide(partition, take(legs, np.array([position])))
                except pipeline.NotCounted as failure:
                    rejection = Rejection(position, Reject.PROCESSING_FAILED, str(failure))
                    self._refuse_leg(partition, legs, rejection)
                    event_id, payer, payee, currency = _names(legs, position)
                    self._decide_plainly(
                        partition,
                        (event_id, int(legs.ts[position]), payer, payee),
                        (float(legs.amount_original[position]), currency),
                        int(legs.produced[position]),
                    )

    def _send_decisions(self, partition: Partition, decisions: Sequence[tuple[bytes, bytes]]) -> None:
        if not decisions:
            return
        topic = self._topics.decisions
        targets = murmur2_partitions([key for key, _ in decisions], self._partitions_of[topic]).tolist()
        for target, (key, value) in zip(targets, decisions, strict=True):
            partition.keep(self._outputs.put(topic, target, key, value, DECISION_HEADERS))

    def _decide(self, partition: Partition, legs: Legs) -> None:
        decided = pipeline.payee_leg(legs, partition.state, self._wall_ms(), self._fallback)
        self._send_decisions(partition, decided.decisions)
        self._queue_alerts(partition, decided.alerts)
        for finding in decided.cases:
            record = Record(self._topics.cases, finding.account.encode(), finding.to_bytes())
            partition.records.append(record)
        for rejection in decided.refused:
            self._refuse_leg(partition, legs, rejection)
        self._count(decided)

    def _count(self, decided: pipeline.Decided) -> None:
        metrics, legs = self._metrics, decided.legs
        metrics.payee_batch.observe(np.array([size(legs)], dtype=np.float64))
        metrics.latency.observe((self._wall_ms() - legs.produced) / 1000.0)
        counted = ~decided.repeat
        verdicts = decided.verdicts
        metrics.score.observe(verdicts.score[counted & (verdicts.score > 0)])
        anomaly = np.concatenate((verdicts.payer_anomaly, verdicts.payee_anomaly))
        metrics.anomaly_score.observe(anomaly[anomaly > 0])
        metrics.events_decided.inc(int(counted.sum()))
        metrics.events_duplicate.inc(int(decided.repeat.sum()))
        metrics.late.inc(int((decided.late & counted).sum()))
        actions = np.bincount(decided.action[counted], minlength=len(Action)).tolist()
        for action, count in zip(Action, actions, strict=True):
            if count:
                metrics.decisions.labels(action.label).inc(count)
        held = counted & (decided.action >= Action.DELAY)
        if held.any():
            metrics.intercepted.inc(float(legs.amount[held].sum()))
        sums = zip(self._rule_counters, decided.fired.tolist(), decided.not_evaluable.tolist(), strict=True)
        for (fired, unknown), fired_count, unknown_count in sums:
            if fired_count:
                fired.inc(fired_count)
            if unknown_count:
                unknown.inc(unknown_count)

    def _queue_alerts(self, partition: Partition, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            self._metrics.alerts.labels(alert.status.value).inc()
            partition.records.append(
                Record(self._topics.alerts, alert.account.encode(), encode_alert(alert), ALERT_HEADERS)
            )

    def _refuse_leg(self, partition: Partition, legs: Legs, rejection: Rejection) -> None:
        """Dead letter of a payment refused in the second hop: its own record's bytes and position."""
        position = rejection.index
        number, offset = int(legs.source_partition[position]), int(legs.offset[position])
        event_id, payer, payee, currency = _names(legs, position)
        known = {
            "event_id": event_id,
            "ts": int(legs.ts[position]),
            "account": payer,
            "counterparty": payee,
            "amount": float(legs.amount_original[position]),
            "currency": currency,
        }

        def refuse(original: bytes | None) -> Delivery:
            # Where retention was faster than we, what the leg carried is all there is.
            value = orjson.dumps(known) if original is None else original
            topic = self._topics.transactions
            return self._put_letter(topic, number, offset, value, rejection.reason, rejection.message)

        self._count_letter(partition, self._topics.transactions, rejection.reason)
        partition.keep(self._originals.bring(number, offset, refuse))

    # -- the payer's warnings, feedback, facts ------------------------------------------------------------

    def cases(self, partition: Partition, records: Sequence[Any]) -> None:
        """Group what was found about payers in their own rows.

        Raises
        ------
        StateRefused
            A case record cannot be read by this release.
        """
        for record in records:
            try:
                finding = Finding.from_bytes(record.value)
            except ValueError as error:
                where = f"{self._topics.cases}-{partition.number} offset {record.offset}"
                raise StateRefused(f"{where} cannot be read: {error}") from error
            self._queue_alerts(partition, pipeline.apply_case(finding, partition.state))

    def sightings(self, partition: Partition, records: Sequence[Any]) -> None:
        """Count who used which device or address; list those that too many share."""
        for record in records:
            seen = wire.decode(record.value)
            self._metrics.sightings.inc(len(seen))
            for sighting in seen:
                for raised in partition.state.sharing.see(sighting):
                    self._list(partition, raised)

    def _list(self, partition: Partition, raised: Raised) -> None:
        # The topic keeps one record a key: who else listed it, knows more than we do.
        if self._context.signals.source_of(raised.key) not in (None, SignalSource.SHARING):
            return
        value = None
        if raised.signal is not None:
            value = RiskSignal(**raised.signal._asdict(), reason=raised.reason).encode()
        partition.records.append(Record(self._topics.risk_signals, raised.key.encode(), value))

    def dispositions(self, partition: Partition, records: Sequence[Any]) -> None:
        """Close or correct warnings, list or delist mules."""
        state, topic = partition.state, self._topics.dispositions
        for index, record in enumerate(records):
            parsed = parse_disposition(record.value, _key(record))
            if isinstance(parsed, Rejection):
                self._refuse(partition, topic, records, [parsed._replace(index=index)])
                continue
            if self._misplaced(partition, topic, records, index):
                continue
            done = dispose(
                state.book,
                state.tallies,
                parsed,
                state.stream_ts,
                listed_by=self._context.signals.source_of(f"account:{parsed.account}"),
            )
            self._queue_alerts(partition, done.alerts)
            refusal = _REFUSED_DISPOSITIONS.get(done.verdict)
            if refusal is not None:
                self._refuse(partition, topic, records, [Rejection(index, *refusal)])
            if done.signal is not None:
                partition.records.append(
                    Record(self._topics.risk_signals, done.signal.key, done.signal.value)
                )

    def account_updates(self, partition: Partition, records: Sequence[Any]) -> None:
        """Take in facts about accounts."""
        topic = self._topics.account_updates
        for index, record in enumerate(records):
            parsed = parse_account_update(record.value, _key(record))
            if isinstance(parsed, Rejection):
                self._refuse(partition, topic, records, [parsed._replace(index=index)])
                continue
            if self._misplaced(partition, topic, records, index):
                continue
            partition.state.profiles.update_facts(
                parsed.account.encode(),
                parsed.ts,
                parsed.opened,
                parsed.holder_birth_year,
                parsed.kind,
                parsed.changed,
            )

    def _misplaced(self, partition: Partition, topic: str, records: Sequence[Any], index: int) -> bool:
        key = records[index].key
        expected = murmur2_partition(key, self._context.bank.partitions)
        if expected == partition.number:
            return False
        message = (
            f"the key belongs on partition {expected}: produce with Kafka's own partitioner (murmur2; for "
            "librdkafka clients partitioner=murmur2_random)"
        )
        self._refuse(partition, topic, records, [Rejection(index, Reject.WRONG_PARTITION, message)])
        return True

    # -- dead letters -------------------------------------------------------------------------------------

    def _refuse(
        self, partition: Partition, topic: str, records: Sequence[Any], refused: Sequence[Rejection]
    ) -> None:
        for rejection in refused:
            record = records[rejection.index]
            self._dead_letter(
                partition,
                topic,
                partition.number,
                record.offset,
                record.value,
                rejection.reason,
                rejection.message,
            )

    def _dead_letter(
        self,
        partition: Partition,
        topic: str,
        number: int,
        offset: int,
        value: bytes | None,
        reason: Reject,
        message: str,
    ) -> None:
        self._count_letter(partition, topic, reason)
        partition.keep(self._put_letter(topic, number, offset, value, reason, message))

    def _put_letter(
        self, topic: str, number: int, offset: int, value: bytes | None, reason: Reject, message: str
    ) -> Delivery:
        body, headers = dead_letter(topic, number, offset, value, reason, message)
        target = number % self._partitions_of[self._topics.dead_letters]
        return self._outputs.put(self._topics.dead_letters, target, None, body, tuple(headers))

    def _count_letter(self, partition: Partition, topic: str, reason: Reject) -> None:
        partition.state.tallies.rejected(reason)
        self._metrics.dead_letters.labels(topic, str(reason)).inc()


def _without(records: Sequence[_T], refused: Sequence[Rejection]) -> Sequence[_T]:
    if not refused:
        return records
    dropped = {rejection.index for rejection in refused}
    return [record for i, record in enumerate(records) if i not in dropped]


def _key(record: Any) -> bytes:
    """Key of a record, empty where it has none: then it is no account's key, and the record is refused."""
    return record.key or b""


def _names(legs: Legs, position: int) -> list[str]:
    """Event, payer, payee and currency of a leg; behind them a tainted one tells its paths."""
    return legs.texts[position].decode().split("\0")[:4]
