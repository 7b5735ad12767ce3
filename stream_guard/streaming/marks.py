"""The marks that end a transaction, written again where a broker may have left them out.

A transaction ends with a mark in every partition that it wrote to; until it is there, readers of committed
records wait. Kafka 4 takes a partition that has no leader at that moment for a deleted one, leaves the mark
out and calls the transaction complete all the same. Seen with 4.3.1 where the only broker was shut down in
order after a commit, and where it was killed and back within its session: it finds the transaction that it
has to end, is then fenced when the session of its former life is over, which takes the leader from all its
partitions, and leaves all marks out ("these partitions are likely deleted already and hence can be skipped").

Nothing ends what was left open but a mark of the same producer in the same partition, and that need not carry
data. So a transaction also marks what the one before it wrote to, and whoever opens a partition first marks
everything that its former owner may have written to. The second needs to know how the last transaction ended,
which the coordinator tells until the producer is started anew: an owner that dies between the two leaves what
was open to its successors' transactions, and a changelog that is hidden by it is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import aiokafka
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    NotCoordinatorError,
    RequestTimedOutError,
    for_code,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields
from aiokafka.structs import TopicPartition

ASK_AGAIN_S = 0.1
"""As aiokafka's own wait between two tries."""

ASK_FOR_S = 60.0
"""A coordinator that moves or loads answers within seconds; a broker's restart takes less than this."""

TRANSACTIONAL_ID_NOT_FOUND = 105
"""Error code of a transactional id that the coordinator does not know, or no longer."""

COMMITTED = {
    "PrepareCommit": True,
    "CompleteCommit": True,
    "Ongoing": False,
    "PrepareAbort": False,
    "CompleteAbort": False,
    "PrepareEpochFence": False,
}
"""Whether the last transaction counts, by the coordinator's state. One under way is aborted when its producer
is started anew. The other states, `Empty` and `Dead`, know of none."""

_TRY_AGAIN = (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    KafkaConnectionError,
    NodeNotReadyError,
    NotCoordinatorError,
    RequestTimedOutError,
)


class _Described(Response):  # type: ignore[misc]
    API_KEY = 65
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "transactions",
            CompactArray(
                ("error_code", Int16),
                ("transactional_id", CompactString("utf-8")),
                ("state", CompactString("utf-8")),
                ("timeout_ms", Int32),
                ("start_time_ms", Int64),
                ("producer_id", Int64),
                ("producer_epoch", Int16),
                (
                    "topics",
                    CompactArray(
                        ("topic", CompactString("utf-8")),
                        ("partitions", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _DescribeV0(RequestStruct):  # type: ignore[misc]
    API_KEY = 65
    API_VERSION = 0
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _Described
    SCHEMA = Schema(("transactional_ids", CompactArray(CompactString("utf-8"))), ("tags", TaggedFields))


class _DescribeTransactions(Request[_DescribeV0]):  # type: ignore[misc]
    """DescribeTransactions, which aiokafka does not speak."""

    API_KEY = 65

    def __init__(self, transactional_id: str) -> None:
        self._transactional_id = transactional_id

    def build(self, request_struct_class: type[_DescribeV0]) -> _DescribeV0:
        return request_struct_class([self._transactional_id], {})


async def last_committed(connection: dict[str, Any], transactional_id: str) -> bool | None:
    """Whether the last transaction of a transactional id was committed.

    Parameters
    ----------
    connection
        Keyword arguments of aiokafka clients: bootstrap servers and security.
    transactional_id
        Of the producer. Ask before it is started anew, which lets the coordinator forget the answer.

    Returns
    -------
    bool or None
        None: the coordinator knows of none.

    Raises
    ------
    KafkaError
        No coordinator answers for a minute, or it refuses to.
    """
    client = AIOKafkaClient(**connection)
    try:
        async with asyncio.timeout(ASK_FOR_S):
            await client.bootstrap()
            while True:
                try:
                    return await _ask(client, transactional_id)
                except _TRY_AGAIN:
                    await client.force_metadata_update()
                    await asyncio.sleep(ASK_AGAIN_S)
    except TimeoutError as error:
        raise KafkaError(
            f"no coordinator answered for {transactional_id} within {ASK_FOR_S:g} s: check the leaders of the"
            " brokers' topic __transaction_state"
        ) from error
    finally:
        await client.close()


async def _ask(client: AIOKafkaClient, transactional_id: str) -> bool | None:
    node = await client.coordinator_lookup(CoordinationType.TRANSACTION, transactional_id)
    asked = _DescribeTransactions(transactional_id)
    answer = await client.send(node, asked, group=ConnectionGroup.COORDINATION)
    code, _, state, *_ = answer.transactions[0]
    if code == TRANSACTIONAL_ID_NOT_FOUND:
        return None
    if code:
        raise for_code(code)(f"the last transaction of {transactional_id} cannot be told")
    return COMMITTED.get(state)


def mark_too(producer: aiokafka.AIOKafkaProducer, partitions: Iterable[TopicPartition]) -> None:
    """Let the transaction under way also end in `partitions`, whether it writes there or not."""
    for tp in partitions:
        # A producer can only be told by sending a record.
        producer._txn_manager.maybe_add_partition_to_txn(tp)


async def mark_again(
    producer: aiokafka.AIOKafkaProducer, partitions: Iterable[TopicPartition], committed: bool
) -> None:
    """End what the producer may have open in `partitions`, by a transaction that writes nothing."""
    await producer.begin_transaction()
    mark_too(producer, partitions)
    await (producer.commit_transaction() if committed else producer.abort_transaction())
