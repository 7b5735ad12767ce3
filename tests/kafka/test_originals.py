from __future__ import annotations

import asyncio

from stream_guard.streaming.originals import KafkaOriginals
from tests.kafka.harness import Kafka


def test_a_record_is_brought_again_as_it_came_and_is_missed_when_retention_was_faster(kafka: Kafka) -> None:
    topic = kafka.prefix("originals")
    kafka.topic(topic)
    kafka.send(topic, [("a", b"first"), ("a", b'{"as": "it came"} '), ("a", b"third")])
    kafka.delete_before(topic, 0, 1)

    async def bring(offset: int) -> bytes | None:
        brought: list[bytes | None] = []

        def then(value: bytes | None) -> asyncio.Future[None]:
            brought.append(value)
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done

        await KafkaOriginals(topic, {"bootstrap_servers": [kafka.bootstrap]}).bring(0, offset, then)
        return brought[0]

    assert asyncio.run(bring(1)) == b'{"as": "it came"} '
    assert asyncio.run(bring(0)) is None
