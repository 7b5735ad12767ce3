"""The independent verifier: it knows what was sent, reads what came out, and asks no worker.

What decisions prove, although the two hops of different payments interleave as they like:

- *Payers.* The payments of an account reach its row in the order of the topic, always. So every figure about
  payments out is determined, whatever was killed when, and is compared for every decision, repeats included.
- *Payees.* Payments in reach a row in whatever order their legs arrive, and a leg lost with the process that
  applied it may arrive in another order the next time. The decision made last on a payment is the one made
  when it was applied for good: nothing that is durable is applied again. It carries its place in that order,
  ``payee.in_count``: in these an account's payments in must be numbered 0, 1, 2 ... without a gap (a payment
  missed) or a repetition (one counted twice), those of one source partition in the topic's order, and every
  other figure must follow from that order.
- *Totals.* At the end a probe from every account, to a party that is none, shows both directions of its row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import orjson
import pandas as pd
import yaml
from confluent_kafka import Message
from numpy.typing import NDArray

from stream_guard.alerts import Alert, warning_id
from stream_guard.detection.findings import Finding
from stream_guard.detection.hashing import murmur2_partitions
from stream_guard.settings import Settings
from tests.chaos import reference
from tests.kafka.harness import Kafka

READ_S = 600.0
CHUNK = 5_000
"""Decisions turned into numbers at a time; as objects a million of them would not fit into memory."""

TEXTS = ("event_id", "account", "counterparty", "decision_id", "action")
NUMBERS = ("partition", "offset", "written", "amount", "repeat", "decided_at",
           "payer_score", "payee_score", "payer_warn", "payee_warn", "content")  # fmt: skip


class Place(NamedTuple):
    """Where a record stands in an input topic."""

    topic: str
    partition: int
    offset: int


class Sent(NamedTuple):
    """What the verifier knows: the input.

    Attributes
    ----------
    payments
        In the order sent, with ``produced``, the millisecond in which each was written.
    probes
        One payment of every account, after everything else; empty where there were none.
    busy
        Accounts with more payments than a ring holds.
    partitions
        Partition count of the keyed topics.
    resent
        Ids of payments that were sent more than once and so are answered again.
    refused
        Places of the records that must become dead letters.
    """

    payments: pd.DataFrame
    probes: pd.DataFrame
    busy: list[str]
    partitions: int
    resent: frozenset[str] = frozenset()
    refused: frozenset[Place] = frozenset()


@dataclass
class Verdict:
    """What the output of one run amounts to; `sentences` say what is wrong with it."""

    events: int = 0
    decided: int = 0
    distinct: int = 0
    repeated: int = 0
    changed: int = 0
    missing: int = 0
    wrong: int = 0
    alerts: int = 0
    alerts_twice: int = 0
    alerts_missing: int = 0
    standstill_s: float = 0.0
    answered_again: int = 0
    sentences: list[str] = field(default_factory=list)

    def require_fine(self) -> None:
        """Fail, with what is wrong, unless the promise was kept."""
        assert not self.sentences, "\n".join(map(str, self.sentences))
        assert self.missing + self.wrong + self.alerts_twice + self.alerts_missing == 0, self


def verify(kafka: Kafka, settings: Settings, sent: Sent) -> Verdict:
    """Read all output topics and judge them by the input."""
    topics = settings.topics
    verdict = Verdict(events=len(sent.payments) + len(sent.probes))
    decided = read_decisions(
        kafka.stream(topics.decisions, timeout_s=READ_S), _warning_rules(settings.models.pack.read_text())
    )
    judge_decisions(verdict, sent, decided)
    judge_alerts(verdict, kafka.read(topics.alerts, timeout_s=READ_S), decided)
    _judge_dead_letters(verdict, kafka.read(topics.dead_letters, timeout_s=READ_S), sent.refused)
    return verdict


# -- decisions ---------------------------------------------------------------------------------------------


def read_decisions(records: Iterable[Message], warning_rules: frozenset[str]) -> pd.DataFrame:
    """Decisions in the order made, one row a message; `content` is equal where all but the clock is."""
    texts: dict[str, list[str]] = {name: [] for name in TEXTS}
    chunks: list[NDArray[np.float64]] = []
    stream = iter(records)
    while chunk := list(islice(stream, CHUNK)):
        chunks.append(np.array([_numbers(record, texts, warning_rules) for record in chunk], np.float64))
    columns = (*NUMBERS, *reference.FIGURES)
    numbers = np.concatenate(chunks) if chunks else np.empty((0, len(columns)))
    frame = pd.concat([pd.DataFrame(texts, dtype=object), pd.DataFrame(numbers, columns=columns)], axis=1)
    # By the clock of who decided: what a process cut off for a while had under way may be written late.
    return frame.sort_values(["decided_at", "partition", "offset"], kind="stable", ignore_index=True)


def _numbers(record: Message, texts: dict[str, list[str]], warning_rules: frozenset[str]) -> list[Any]:
    value = orjson.loads(record.value())
    for name in TEXTS:
        texts[name].append(value[name])
    features: Mapping[str, float | None] = value.get("features") or {}
    scores, warns = {"payer": 1.0, "payee": 1.0}, {"payer": False, "payee": False}
    for reason in value["reasons"]:
        scores[reason["side"]] *= 1 - reason["score"] / 100
        warns[reason["side"]] |= reason["rule"] in warning_rules
    figures = [features.get(name) for name in reference.FIGURES]
    fixed = (record.partition(), record.offset(), record.timestamp()[1], value["amount"], value["repeat"])
    decided_at = value.pop("decided_at")
    del value["expires_at"]
    content = hash(orjson.dumps(value)) >> 12  # exact as a float
    return [*fixed, decided_at, *(100 * (1 - scores[side]) for side in ("payer", "payee")),
            warns["payer"], warns["payee"], content, *figures]  # fmt: skip


def judge_decisions(verdict: Verdict, sent: Sent, decided: pd.DataFrame) -> None:
    """Count decisions and compare what they were made on with the reference."""
    by_id = decided.groupby("decision_id", sort=False)
    verdict.decided, verdict.distinct = len(decided), by_id.ngroups
    again = decided["repeat"] == 1.0
    verdict.answered_again = int(again.sum())
    taken = set(decided.loc[again, "event_id"]) - sent.resent
    if taken:
        verdict.sentences.append(f"{len(taken)} payments were taken for ones sent again: {sorted(taken)[:3]}")
    first_made = decided[~again]
    verdict.repeated = len(first_made) - first_made["decision_id"].nunique()
    first_content = first_made.groupby("decision_id", sort=False)["content"].transform("first")
    verdict.changed = int((first_made["content"] != first_content).sum())

    everything = pd.concat([sent.payments, sent.probes], ignore_index=True)
    known = pd.Series(np.arange(len(everything)), index=everything["event_id"])
    unknown = set(decided["event_id"]) - set(known.index)
    if unknown:
        verdict.sentences.append(f"decisions on {len(unknown)} payments nobody sent: {sorted(unknown)[:3]}")
    missing = ~known.index.isin(first_made["event_id"])
    verdict.missing = int(missing.sum())
    if verdict.missing:
        verdict.sentences.append(f"{verdict.missing} without a decision: {list(known.index[missing][:3])}")
    first_made = first_made[first_made["event_id"].isin(known.index)]
    wrong = np.zeros(len(everything), dtype=np.bool_)
    for rows, sentences in (
        _terms(everything, known, first_made),
        _payers(sent, known, first_made),
        _payees(sent, known, first_made),
        _totals(sent, known, first_made),
    ):
        wrong[rows] = True
        verdict.sentences += sentences
    verdict.wrong = int(wrong.sum())
    verdict.standstill_s = _standstill(sent, first_made)


Wrong = tuple[Any, list[str]]
"""Positions of the payments that are wrong, as sent with the probes last, and what is said of them."""


def _terms(everything: pd.DataFrame, known: pd.Series[int], made: pd.DataFrame) -> Wrong:
    at = known[made["event_id"]].to_numpy()
    differs = np.zeros(len(made), dtype=np.bool_)
    for name in ("account", "counterparty", "amount"):
        differs |= made[name].to_numpy() != everything[name].to_numpy()[at]
    wrong = at[differs]
    return wrong, [f"{len(wrong)} decisions name other parties or amounts"] if len(wrong) else []


def _payers(sent: Sent, known: pd.Series[int], made: pd.DataFrame) -> Wrong:
    made = made[known[made["event_id"]].to_numpy() < len(sent.payments)]
    at = known[made["event_id"]].to_numpy()
    expected = reference.of_payers(sent.payments).iloc[at]
    crowded = made["account"].isin(sent.busy).to_numpy()
    found = reference.differences(expected, made, reference.PAYER_FIGURES, crowded)
    return at[found.rows], found.sentences


def _payees(sent: Sent, known: pd.Series[int], made: pd.DataFrame) -> Wrong:
    last = made.groupby("event_id", sort=False).tail(1)
    last = last[known[last["event_id"]].to_numpy() < len(sent.payments)]
    last = last.set_index(known[last["event_id"]].to_numpy()).sort_index()
    payments = sent.payments.loc[last.index]
    source = murmur2_partitions([account.encode() for account in payments["account"]], sent.partitions)
    order = payments.assign(place=last["payee.in_count"], source=source)
    order = order.sort_values(["counterparty", "place"], kind="stable")
    sentences = []
    misnumbered = order.index[order["place"] != order.groupby("counterparty").cumcount()]
    if len(misnumbered):
        sentences.append(
            f"payments in were missed or counted twice, seen on {len(misnumbered)}: "
            f"{list(payments.loc[misnumbered[:3], 'event_id'])}"
        )
    position = pd.Series(order.index, index=order.index)
    behind = position.groupby([order["counterparty"], order["source"]]).diff() < 0
    if behind.any():
        sentences.append(f"legs of one source partition overtook each other: {int(behind.sum())}")
    expected = reference.of_payees(order).loc[last.index]
    crowded = last["counterparty"].isin(sent.busy).to_numpy()
    found = reference.differences(expected, last, reference.PAYEE_FIGURES, crowded)
    wrong = np.concatenate([misnumbered, order.index[behind], last.index[found.rows]]).astype(np.intp)
    return wrong, sentences + found.sentences


def _totals(sent: Sent, known: pd.Series[int], made: pd.DataFrame) -> Wrong:
    probes = made[known[made["event_id"]].to_numpy() >= len(sent.payments)]
    if probes.empty:
        return np.empty(0, np.intp), []
    probes = probes.groupby("event_id", sort=False).tail(1)
    expected = reference.of_totals(sent.payments, probes["account"])
    crowded = probes["account"].isin(sent.busy).to_numpy()
    found = reference.differences(expected, probes, reference.TOTALS, crowded)
    return known[probes["event_id"]].to_numpy()[found.rows], found.sentences


def _standstill(sent: Sent, made: pd.DataFrame) -> float:
    """Longest time, seconds, that a payee partition decided nothing while one of its payments waited."""
    if "produced" not in sent.payments:
        return 0.0
    first = made.groupby("event_id", sort=False).head(1)
    first = first.set_index("event_id").reindex(sent.payments["event_id"])
    keys = [account.encode() for account in sent.payments["counterparty"]]
    frame = pd.DataFrame(
        {
            "partition": murmur2_partitions(keys, sent.partitions),
            "decided": first["decided_at"].to_numpy(),
            "produced": sent.payments["produced"].to_numpy(float),
        }
    ).dropna()
    frame = frame.sort_values(["partition", "decided"], kind="stable")
    before = frame.groupby("partition")["decided"].shift()
    waited = frame["decided"] - np.fmax(before, frame["produced"])
    return float(waited.max()) / 1000 if len(waited) else 0.0


# -- alerts and dead letters -------------------------------------------------------------------------------


def _warning_rules(pack: str) -> frozenset[str]:
    """Rules that open a warning whatever the score."""
    return frozenset(rule["id"] for rule in yaml.safe_load(pack)["rules"] if rule.get("warn"))


def _warned(last: pd.DataFrame, warn_at: float = 50.0) -> Iterator[str]:
    for side, party in (("payer", "account"), ("payee", "counterparty")):
        speaks = (last[f"{side}_score"] >= warn_at - 1e-9) | (last[f"{side}_warn"] == 1.0)
        yield from last.loc[speaks, party]


def judge_alerts(verdict: Verdict, records: Iterable[Message], decided: pd.DataFrame) -> None:
    """Each (warning, revision) once, in order, without a gap; who is warned is whom the decisions name.

    No warning is disposed of in these runs, so an account has one at most.
    """
    ordered = sorted(records, key=lambda record: (record.partition(), record.offset()))
    found = [Alert.model_validate_json(record.value()) for record in ordered]
    verdict.alerts = len(found)
    by_warning: dict[str, list[Alert]] = {}
    for alert in found:
        by_warning.setdefault(alert.warning_id, []).append(alert)
    opened_on: list[str] = []
    for warning, alerts in by_warning.items():
        revisions = [alert.revision for alert in alerts]
        distinct = set(revisions)
        verdict.alerts_twice += len(revisions) - len(distinct)
        verdict.alerts_missing += max(distinct) - len(distinct)
        if revisions != list(range(1, len(revisions) + 1)):
            verdict.sentences.append(f"warning {warning} has revisions {revisions}")
        opened = alerts[0]
        opened_on.append(opened.account)
        if opened.status != "opened" or warning != warning_id(opened.account, opened.event_ids[0]):
            verdict.sentences.append(f"warning {warning} does not begin with its opening")
    made = decided[decided["repeat"] == 0.0]
    warned = set(_warned(made.groupby("event_id", sort=False).tail(1)))
    second, unfounded = len(opened_on) - len(set(opened_on)), set(opened_on) - warned
    unwarned = warned - set(opened_on)
    verdict.alerts_twice += second + len(unfounded)
    verdict.alerts_missing += len(unwarned)
    if second or unfounded or unwarned:
        verdict.sentences.append(
            f"{second} second warnings of an account, {len(unfounded)} that no decision gives a reason for "
            f"{sorted(unfounded)[:3]}, {len(unwarned)} missing {sorted(unwarned)[:3]}"
        )


def _judge_dead_letters(verdict: Verdict, records: Iterable[Message], refused: frozenset[Place]) -> None:
    """Exactly the records that must be refused; a repeat has the same place."""
    found = {_place(record) for record in records}
    if found != refused:
        verdict.sentences.append(
            f"{len(refused - found)} dead letters are missing {sorted(refused - found)[:3]}, "
            f"{len(found - refused)} should not be there {sorted(found - refused)[:3]}"
        )


def _place(letter: Message) -> Place:
    headers = dict(letter.headers() or ())
    return Place(headers["topic"].decode(), int(headers["partition"]), int(headers["offset"]))


def stale_writes(kafka: Kafka, settings: Settings) -> list[str]:
    """What a process that was replaced would have left: steps backwards in the state, cases written twice."""
    highest: dict[tuple[int, str], int] = {}
    found = []
    for record in kafka.stream(settings.topics.state, timeout_s=READ_S):
        if record.key() != b"\0meta":
            continue
        for topic, offset in orjson.loads(record.value())["applied"].items():
            place = (record.partition(), topic)
            if offset < highest.get(place, 0):
                found.append(f"{topic}-{record.partition()} from {highest[place]} to {offset}")
            highest[place] = offset
    cases: set[tuple[str, str]] = set()
    for record in kafka.stream(settings.topics.cases, timeout_s=READ_S):
        finding = Finding.from_bytes(record.value())
        case = (finding.account, finding.event_id)
        if case in cases:
            found.append(f"a second case of {finding.account} on {finding.event_id}")
        cases.add(case)
    return found
