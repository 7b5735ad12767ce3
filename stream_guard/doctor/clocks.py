"""Clocks: latency and lateness count from a record's timestamp, which is its producer's clock."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from kafka import KafkaConsumer

from stream_guard.doctor.findings import Finding, error, ok, warning
from stream_guard.doctor.producers import newest
from stream_guard.settings import Settings
from stream_guard.streaming.records import partitions_of
from stream_guard.streaming.topic_plan import TopicFound

SKEW_MS = 500
"""More is worth a warning. Synchronised clocks differ by a few milliseconds."""

LISTEN_MS = 50


def clocks(
    reader: KafkaConsumer, settings: Settings, found: Mapping[str, TopicFound], listen_s: float
) -> Iterator[Finding]:
    """Compare the timestamps of payments with this machine's clock.

    A timestamp in the future proves that two clocks differ. One in the past does not, unless the record has
    only just arrived: so wait for new ones.
    """
    topic = settings.topics.transactions
    whose = (
        "the broker's (message.timestamp.type=LogAppendTime)"
        if found[topic].configs.get("message.timestamp.type") == "LogAppendTime"
        else "the producers'"
    )
    ahead = max((record.timestamp - _now_ms() for record in newest(reader, topic, 1)), default=None)
    least_age = _age_on_arrival(reader, topic, listen_s)
    if ahead is None:
        yield ok("clock", f"{topic}: no records to look at")
    elif ahead > SKEW_MS:
        yield error(
            "clock",
            f"{topic}: the newest record is {ahead / 1000:.1f} s ahead of this machine's clock: either"
            f" {whose} clock is fast or this one is slow, and latency and lateness are wrong by that;"
            " synchronise both (chronyc tracking).",
        )
    elif least_age is None:
        yield ok(
            "clock", f"not ahead ({whose}); no payment came within {listen_s:g} s to tell whether behind"
        )
    elif least_age > max(SKEW_MS, settings.policy.deadline_ms):
        yield (error if settings.policy.deadline_ms else warning)(
            "clock",
            f"{topic}: payments are {least_age / 1000:.1f} s old when they arrive: either {whose} clock is"
            " slow or they wait in their producer; decisions on them are late from the start. Synchronise the"
            " clocks (chronyc tracking), then look at the producer's linger.ms.",
        )
    elif least_age > SKEW_MS:
        yield warning(
            "clock",
            f"{topic}: payments are {least_age / 1000:.1f} s old when they arrive, of the"
            f" {settings.policy.deadline_ms / 1000:g} s until the deadline; synchronise the clocks.",
        )
    else:
        yield ok("clock", f"payments are {least_age:.0f} ms old when they arrive ({whose} clock)")


def _age_on_arrival(reader: KafkaConsumer, topic: str, listen_s: float) -> float | None:
    """Age, ms, of the freshest payment that arrives while we listen; None where none does."""
    places = partitions_of(reader, topic)
    reader.assign(places)
    reader.seek_to_end(*places)
    for place in places:
        reader.position(place)  # asks now: what came before is no arrival
    ages: list[float] = []
    give_up = time.monotonic() + listen_s
    while not ages and time.monotonic() < give_up:
        for records in reader.poll(LISTEN_MS).values():
            ages += [_now_ms() - record.timestamp for record in records]
    return min(ages, default=None)


def _now_ms() -> float:
    return time.time() * 1000
