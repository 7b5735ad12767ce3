"""The workers as their group shows them: who is there, who has what, how far they are."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import CoordinatorLoadInProgressError, CoordinatorNotAvailableError, NotCoordinatorError

from stream_guard.doctor.findings import Finding, error, ok, warning
from stream_guard.settings import Settings
from stream_guard.streaming.records import POLL_MS
from stream_guard.streaming.topic_plan import TopicFound

READ_ROLES = ("transactions", "legs", "cases", "sightings", "dispositions", "account_updates")

SETTLE_S = 5.0
"""A rebalance is over in one or two seconds; one that lasts longer goes round."""

WAITING_S = 30.0
"""Age of the oldest waiting record from which a group counts as behind; /healthz takes as long."""

READ_S = 5.0


def members(
    admin: KafkaAdminClient, settings: Settings, found: Mapping[str, TopicFound]
) -> Iterator[Finding]:
    """State of the group and whether each partition has one owner."""
    described = _settled(admin, settings.app_id)
    state, present = described["group_state"], described["members"]
    if state in ("Dead", "Empty"):
        yield warning(
            "group", f"no worker is in the group '{settings.app_id}': start one ('stream-guard worker')."
        )
        return
    if state != "Stable":
        yield error(
            "group",
            f"the group '{settings.app_id}' has been in state {state} for {SETTLE_S:g} s or longer: look at"
            " the workers' logs; two with one STREAM_GUARD_INSTANCE_ID push each other out for ever.",
        )
        return
    owners = _owners(present)
    names = {getattr(settings.topics, role) for role in READ_ROLES}
    every = {(name, number) for name in names for number in range(found[name].partitions)}
    missing = sorted({number for name, number in every if (name, number) not in owners})
    if missing:
        yield error(
            "group",
            f"partitions {missing} have no owner: their payments wait; restart the workers, all with the same"
            " version.",
        )
    split = sorted(
        number
        for number in {number for _, number in every}
        if len({owners.get((name, number)) for name in names}) > 1 and number not in missing
    )
    if split:
        yield error(
            "group",
            f"partitions {split} of the keyed topics are split over processes, which refuse to work so: stop"
            " all workers and start them again with one version.",
        )
    if not missing and not split:
        shares = ", ".join(f"{name} {count}" for name, count in sorted(_shares(present, settings).items()))
        yield ok("group", f"stable, partitions by worker: {shares}")


def lag(
    admin: KafkaAdminClient, reader: KafkaConsumer, settings: Settings, found: Mapping[str, TopicFound]
) -> Iterator[Finding]:
    """How far the state is behind the topics, and whether it still can read on."""
    names = [getattr(settings.topics, role) for role in READ_ROLES]
    places = [TopicPartition(name, number) for name in names for number in range(found[name].partitions)]
    committed = {
        place: entry.offset
        for place, entry in admin.list_group_offsets({settings.app_id: None})[settings.app_id].items()
        if entry.offset >= 0
    }
    first = _offsets(admin, places, OffsetSpec.EARLIEST)
    ends = _offsets(admin, places, OffsetSpec.LATEST)
    wrong = False
    for place in places:
        offset = committed.get(place, first[place])
        where = f"{place.topic}-{place.partition}"
        if offset < first[place]:
            wrong = True
            yield error(
                "lag",
                f"{where} begins at {first[place]:,} and the group stands at {offset:,}: records were deleted"
                " before they were read; raise retention.ms, and start under a new app_id if the loss is"
                " accepted.",
            )
        elif offset > ends[place]:
            wrong = True
            yield error(
                "lag",
                f"{where} ends at {ends[place]:,} and the group stands at {offset:,}: the topic was made"
                " anew; restore it, or start under a new app_id.",
            )
    if wrong:
        return
    waiting = {
        place: committed.get(place, first[place])
        for place in places
        if ends[place] > committed.get(place, first[place])
    }
    total = sum(ends[place] - offset for place, offset in waiting.items())
    age_s = _oldest_s(reader, waiting)
    if age_s > WAITING_S:
        yield error(
            "lag",
            f"{total:,} records wait, the oldest for {age_s:,.0f} s: start a worker, or another one, and look"
            " at the logs of those that run.",
        )
    else:
        yield ok("lag", f"{total:,} records wait" + (f", the oldest for {age_s:.1f} s" if total else ""))


def _settled(admin: KafkaAdminClient, app_id: str) -> Any:
    give_up = time.monotonic() + SETTLE_S
    while True:
        try:
            described = admin.describe_groups([app_id])[app_id]
        except (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError):
            # A cluster that never had a group makes the topic for their offsets when first asked.
            if time.monotonic() > give_up:
                raise
        else:
            if described["group_state"] in ("Stable", "Dead", "Empty") or time.monotonic() > give_up:
                return described
        time.sleep(0.3)


def _owners(present: Any) -> dict[tuple[str, int], str]:
    owners = {}
    for member in present:
        for topic in _assigned(member):
            for number in topic["partitions"]:
                owners[topic["topic"], number] = member["member_id"]
    return owners


def _shares(present: Any, settings: Settings) -> dict[str, int]:
    shares: dict[str, int] = defaultdict(int)
    for member in present:
        name = member["group_instance_id"] or member["client_id"]
        shares[name] += sum(
            len(topic["partitions"])
            for topic in _assigned(member)
            if topic["topic"] == settings.topics.transactions
        )
    return dict(shares)


def _assigned(member: Any) -> Any:
    assignment = member["member_assignment"]
    return assignment["assigned_partitions"] if assignment else ()


def _offsets(admin: KafkaAdminClient, places: list[TopicPartition], spec: Any) -> dict[TopicPartition, int]:
    found = admin.list_partition_offsets(dict.fromkeys(places, spec))
    return {place: found[place].offset for place in places}


def _oldest_s(reader: KafkaConsumer, waiting: Mapping[TopicPartition, int]) -> float:
    """Age of the oldest record that waits, seconds; 0 where what waits are only marks of transactions."""
    if not waiting:
        return 0.0
    reader.assign(list(waiting))
    for place, offset in waiting.items():
        reader.seek(place, offset)
    seen: dict[TopicPartition, int] = {}
    give_up = time.monotonic() + READ_S
    while len(seen) < len(waiting) and time.monotonic() < give_up:
        records = reader.poll(POLL_MS)
        for place, batch in records.items():
            seen.setdefault(place, min(record.timestamp for record in batch))
        if not records:
            break
    return max((time.time() - moment / 1000 for moment in seen.values()), default=0.0)
