"""The production process: checks, start, run until told to stop, end within ten seconds."""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

import aiokafka
import faust
import uvloop
from aiokafka.errors import KafkaError
from faust.types import TP

from stream_guard import __version__
from stream_guard.context import load_context
from stream_guard.detection.hashing import murmur2_partition
from stream_guard.detection.state import Context, PartitionState
from stream_guard.detection.vocabulary import Rejection
from stream_guard.metrics import Metrics
from stream_guard.settings import Settings
from stream_guard.streaming.app import build_app
from stream_guard.streaming.dead_letters import dead_letter
from stream_guard.streaming.fatal import EXIT_DEAD_LETTER, EXIT_SETTINGS, die, note_with
from stream_guard.streaming.gather import Gather
from stream_guard.streaming.handlers import Handlers, TopicNames
from stream_guard.streaming.health import HealthServer, Verdict
from stream_guard.streaming.kafka_state import KafkaState
from stream_guard.streaming.last_exit import Cause, LastExit
from stream_guard.streaming.lease import Lease
from stream_guard.streaming.light_records import use_light_records
from stream_guard.streaming.live_connections import use_live_connections
from stream_guard.streaming.logs import configure_logging, described
from stream_guard.streaming.originals import KafkaOriginals
from stream_guard.streaming.outputs import MAX_BATCH_BYTES, Outputs
from stream_guard.streaming.partition import Partition
from stream_guard.streaming.processor import Processor
from stream_guard.streaming.signals import SignalReader, apply_signal
from stream_guard.streaming.snapshots import SnapshotFolder
from stream_guard.streaming.snapshotter import Snapshotter
from stream_guard.streaming.state import MemoryState, Record, StateBackend
from stream_guard.streaming.topic_plan import WRITTEN_WITH_STATE
from stream_guard.streaming.topics import partition_counts
from stream_guard.streaming.transport import Consumer
from stream_guard.streaming.watchdog import Watchdog
from stream_guard.warm_up import warm_up

logger = logging.getLogger(__name__)

KEYED = ("transactions", "legs", "cases", "sightings", "dispositions", "account_updates")
"""Roles of the topics that the agents read, in the order of Faust's registration."""

STOP_WITHIN_S = 9.0
"""SIGTERM ends the process within 10 s; what is not durable by then is read again."""

SIGNALS_WITHIN_S = 60.0
"""How long the risk signals may take to be read at the start."""

STALLED_AFTER_S = 30.0
"""/healthz fails when there is lag and nothing has become durable for that long: three leases."""

GIVE_UP_AFTER_S = 120.0
"""Four times as long, and the process ends by itself: not everybody restarts what fails a probe."""

COMMIT_AGE_EVERY_S = 1.0

ASK_EVERY_S = 5.0
"""Between two questions how far the logs go: a stall is seen that much later at most."""


class Worker:
    """One running worker.

    Parameters
    ----------
    settings
        Checked settings.
    context
        What decides.
    partitions_of
        Partition count of every topic by name.
    snapshots
        Where snapshots of partitions are kept; None: nowhere.
    """

    def __init__(
        self,
        settings: Settings,
        context: Context,
        partitions_of: Mapping[str, int],
        snapshots: SnapshotFolder | None,
    ) -> None:
        self.settings = settings
        self.context = context
        self.partitions_of = partitions_of
        self.snapshots = snapshots
        self.keyed = {role: getattr(settings.topics, role) for role in KEYED}
        self.metrics = self._metrics()
        self.lease = Lease(settings.state.lease_s, time.monotonic)
        self.stop = asyncio.Event()
        self.ends: dict[TP, int] = {}
        self.processor: Processor
        self.app: faust.App
        self.reader: SignalReader
        self._connection = settings.python_client()

    def _metrics(self) -> Metrics:
        settings, pack = self.settings, self.context.pack.pack
        bound = settings.state.memory_mb
        metrics = Metrics(
            __version__,
            f"{pack.name}@{pack.version}",
            pack.hash[:12],
            self._partitions,
            roles={name: role for role, name in self.keyed.items()},
            memory_bound=None if bound is None else bound << 20,
        )
        refusable = ("transactions", "account_updates", "dispositions", "risk_signals")
        metrics.expect_dead_letters(getattr(settings.topics, role) for role in refusable)
        metrics.partitions.set(self.context.bank.partitions)
        for setting, limit in settings.policy.limits.items():
            metrics.policy.labels(setting).set(limit)
        return metrics

    def _partitions(self) -> Sequence[Partition]:
        return list(self.processor.partitions())

    def partition_for(self, topic: str, key: bytes) -> int:
        """Where Kafka's own partitioner puts `key`."""
        return murmur2_partition(key, self.partitions_of[topic])

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT; return the exit code."""
        loop = asyncio.get_running_loop()
        last_exit = LastExit(self.settings.data_dir, self.settings.instance_id)
        self.metrics.last_exit.labels(last_exit.begin().value).set(1)
        note_with(last_exit.end)
        logging.getLogger("aiokafka").addHandler(BrokerErrors(self.metrics.broker_errors.inc))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_in_time)
        producer = aiokafka.AIOKafkaProducer(
            **self._connection,
            enable_idempotence=True,
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=MAX_BATCH_BYTES + 100_000,
        )
        await producer.start()
        outputs = Outputs(producer, self.lease.wait, self._failed_delivery)
        backend = self._backend(outputs)
        self.processor = self._processor(outputs, backend)
        self.processor.snapshots = self.snapshots
        self.app = self._app()
        health = HealthServer(
            self.settings.http.host, self.settings.http.port, self.metrics.registry, self.healthy, self.ready
        )
        await health.start()
        logger.info("health and metrics on http://%s:%d", health.host, health.port)
        self.reader = SignalReader(
            self.settings.topics.risk_signals,
            self._connection,
            lambda number, record: self._apply_signal(outputs, number, record),
        )
        tasks = [
            asyncio.create_task(self.reader.run()),
            asyncio.create_task(self._watch()),
            asyncio.create_task(self._ask_for_ends()),
        ]
        watchdog = Watchdog(int(STALLED_AFTER_S), die)
        watchdog.start()
        tasks.append(asyncio.create_task(_beat(watchdog)))
        if self.snapshots is not None:
            snapshotter = Snapshotter(
                self.snapshots,
                self.processor.partitions,
                self.processor.flush,
                self.settings.state.snapshot_interval_s,
                self.metrics,
            )
            tasks.append(asyncio.create_task(snapshotter.run()))
        try:
            return await self._serve(tasks)
        finally:
            await self._end(outputs, backend, producer, health, tasks)
            watchdog.stop()
            last_exit.end(Cause.STOPPED)

    # -- parts --------------------------------------------------------------------------------------------

    def _backend(self, outputs: Outputs) -> StateBackend:
        if self.settings.state.backend == "memory":

            async def send(records: Sequence[Record]) -> None:
                await asyncio.gather(
                    *(
                        outputs.put(
                            record.topic,
                            self.partition_for(record.topic, record.key),
                            record.key,
                            record.value,
                            record.headers,
                        )
                        for record in records
                    )
                )

            return MemoryState(send)
        topics = self.settings.topics
        return KafkaState(
            topics.state,
            self.settings.app_id,
            self._connection,
            self.partition_for,
            [getattr(topics, role) for role in WRITTEN_WITH_STATE],
        )

    def _processor(self, outputs: Outputs, backend: StateBackend) -> Processor:
        topics = self.settings.topics
        handlers = Handlers(
            self.context,
            TopicNames(
                topics.transactions,
                topics.dispositions,
                topics.account_updates,
                topics.legs,
                topics.cases,
                topics.sightings,
                topics.decisions,
                topics.alerts,
                topics.dead_letters,
                topics.risk_signals,
            ),
            outputs,
            self.partitions_of,
            self.metrics,
            wall_ms,
            self.settings.policy.fallback_action,
            KafkaOriginals(topics.transactions, self._connection),
        )
        return Processor(
            self.keyed, self._new_partition, backend, outputs, self.lease, self.metrics, handlers
        )

    def _new_partition(self, number: int) -> Partition:
        bank = self.context.bank
        return Partition(
            number,
            bank.partitions,
            PartitionState(self.context),
            bank.routing_hash(),
            self.settings.topics.sightings,
            secrets.token_hex(8),
        )

    def _app(self) -> faust.App:
        settings = self.settings
        security = {key: value for key, value in self._connection.items() if key != "bootstrap_servers"}
        app = build_app(
            app_id=settings.app_id,
            brokers=list(settings.broker),
            instance_id=settings.instance_id,
            data_dir=str(settings.data_dir),
            topics=self.keyed,
            processor=self.processor,
            connection=security,
            flush_interval_s=settings.state.flush_interval_s,
            session_timeout_s=settings.consumer.session_timeout_s,
            heartbeat_s=settings.consumer.heartbeat_s,
            max_poll_records=settings.consumer.max_poll_records,
            fetch_wait_ms=settings.consumer.fetch_wait_ms,
            gather=Gather(settings.consumer.gather_ms / 1000, time.monotonic, time.process_time),
        )

        async def on_assigned(sender: Any, *assigned: Any, **_: Any) -> None:
            # With partitions, Faust opens them by seeking; without any it does not ask.
            if not assigned[0]:
                await self.processor.open(set())

        cast(Any, app.on_partitions_assigned).connect(on_assigned)
        self.processor.bounds = self._bounds
        self.processor.flow_suspended = lambda: not self._consumer.flow_active
        return app

    @property
    def _consumer(self) -> Consumer:
        return cast(Consumer, self.app.consumer)

    async def _bounds(self, tps: set[TP]) -> Mapping[TP, tuple[int, int]]:
        consumer = self._consumer.kafka()
        first, end = await asyncio.gather(
            consumer.beginning_offsets(list(tps)), consumer.end_offsets(list(tps))
        )
        # Also when a partition is opened: an older answer would hide what came in meanwhile.
        self.ends.update({tp: end[tp] for tp in tps})
        return {tp: (first[tp], end[tp]) for tp in tps}

    # -- life ---------------------------------------------------------------------------------------------

    def _stop_in_time(self) -> None:
        """Begin the shutdown; a thread ends the process if it takes too long.

        Without a broker, aiokafka and Faust wait for answers and take a cancellation for something to go on
        after, so nothing on the event loop could bound them.
        """
        if self.stop.is_set():
            return
        self.stop.set()
        late = f"the shutdown took longer than {STOP_WITHIN_S:g} s; what was not committed is read again"
        timer = threading.Timer(STOP_WITHIN_S, die, (late,))
        timer.daemon = True
        timer.start()

    async def _serve(self, tasks: list[asyncio.Task[None]]) -> int:
        """Read the risk signals, start Faust, wait for the end; a task that ends first is a defect."""
        stopped = asyncio.create_task(self.stop.wait())
        ends = {stopped, *tasks}
        signals = asyncio.create_task(asyncio.wait_for(self.reader.caught_up.wait(), SIGNALS_WITHIN_S))
        if await _comes_before(signals, ends):
            start = asyncio.create_task(self.app.start())
            if await _comes_before(start, ends):
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        for task in tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                die(f"a task of the worker failed: {described(task.exception())}")
        return 0

    async def _end(
        self,
        outputs: Outputs,
        backend: StateBackend,
        producer: aiokafka.AIOKafkaProducer,
        health: HealthServer,
        tasks: list[asyncio.Task[None]],
    ) -> None:
        logger.info("stopping: flush, commit, leave the group")
        await self.app.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await outputs.flush()
        await backend.stop()
        await producer.stop()
        await health.stop()

    async def _watch(self) -> None:
        """Keep figures current that nobody else touches; notice when Faust has crashed."""
        while True:
            await asyncio.sleep(COMMIT_AGE_EVERY_S)
            if self.app.should_stop and not self.stop.is_set():
                die(f"Faust stopped by itself: {described(self.app.crash_reason)}")
            self.metrics.commit_age.set(self.lease.now() - self.processor.last_durable)
            self.metrics.progress_age.set(self.lease.now() - self.processor.last_progress)
            self._give_up()
            for source, count in self.context.signals.by_source().items():
                self.metrics.signals.labels(str(source)).set(count)
            for partition in self.processor.partitions():
                self._refresh_ends(partition)

    def _give_up(self) -> None:
        verdict = self._moving_within(GIVE_UP_AFTER_S)
        if not verdict.ok:
            die(verdict.sentence)

    async def _ask_for_ends(self) -> None:
        """Ask the brokers how far the logs go: a consumer that fetches nothing any more does not know."""
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            numbers = [partition.number for partition in self.processor.partitions()]
            tps = {TP(topic, number) for topic in self.keyed.values() for number in numbers}
            if not tps:
                continue
            with suppress(KafkaError, TimeoutError):  # what they said before stands
                await asyncio.wait_for(self._bounds(tps), ASK_EVERY_S)

    def _refresh_ends(self, partition: Partition) -> None:
        for topic, applied in partition.applied.items():
            tp = TP(topic, partition.number)
            waiting = self._consumer.waiting(tp, applied, self.ends.get(tp, 0))
            if waiting is not None:
                partition.ends[topic] = applied + waiting

    def _apply_signal(self, outputs: Outputs, number: int, record: Any) -> None:
        self.metrics.signal_records.inc()
        refused = apply_signal(record, self.context.signals)
        if refused is not None:
            self._refuse_signal(outputs, number, record, refused)

    def _refuse_signal(self, outputs: Outputs, number: int, record: Any, rejection: Rejection) -> None:
        """Every process reads the signals, so every start repeats the dead letter under the same position."""
        source, topic = self.settings.topics.risk_signals, self.settings.topics.dead_letters
        body, headers = dead_letter(
            source, number, record.offset, record.value, rejection.reason, rejection.message
        )
        outputs.put(topic, number % self.partitions_of[topic], None, body, tuple(headers))
        self.metrics.dead_letters.labels(source, str(rejection.reason)).inc()

    def _failed_delivery(self, topic: str, error: BaseException) -> None:
        if topic == self.settings.topics.dead_letters:
            die(f"a dead letter could not be written to {topic}: {described(error)}", EXIT_DEAD_LETTER)
        die(f"a delivery to {topic} failed, and a later one may have overtaken it: {described(error)}")

    # -- probes -------------------------------------------------------------------------------------------

    def ready(self) -> Verdict:
        """All assigned partitions are loaded, and the risk signals are read."""
        if not self.reader.caught_up.is_set():
            return Verdict(False, "the risk signals are being read")
        if self.app.rebalancing or self.app.consumer_generation_id <= 0:
            return Verdict(False, "not a member of the group yet")
        # The consumer knows of an assignment before the processor is asked to open it.
        assigned = {tp.partition for tp in self._consumer.assignment() if tp.topic in self.keyed.values()}
        open_here = len(self._partitions())
        if open_here < len(assigned):
            return Verdict(False, f"{open_here} of {len(assigned)} assigned partitions are loaded")
        return Verdict(True, f"ready: {open_here} partitions")

    def healthy(self) -> Verdict:
        """Applied offsets become durable while there is lag."""
        return self._moving_within(STALLED_AFTER_S)

    def _moving_within(self, seconds: float) -> Verdict:
        age = self.lease.now() - self.processor.last_progress
        lag = sum(sum(partition.lag().values()) for partition in self._partitions())
        if lag and age > seconds:
            return Verdict(False, f"{lag} records wait and nothing has become durable for {age:.0f} s")
        return Verdict(True, f"healthy: {lag} records wait, last progress {age:.1f} s ago")


class BrokerErrors(logging.Handler):
    """Counts what the Kafka client complains about: lost connections, refused requests, missed heartbeats."""

    def __init__(self, count: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._count = count

    def emit(self, record: logging.LogRecord) -> None:
        """One more."""
        self._count()


async def _beat(watchdog: Watchdog) -> None:
    while True:
        watchdog.beat()
        await asyncio.sleep(COMMIT_AGE_EVERY_S)


async def _comes_before(step: asyncio.Task[Any], ends: set[asyncio.Task[Any]]) -> bool:
    """Wait for a step or for an end, whichever is first; raises what the step raised."""
    await asyncio.wait({step, *ends}, return_when=asyncio.FIRST_COMPLETED)
    if not step.done():
        return False
    step.result()
    return True


def wall_ms() -> int:
    """Wall clock in milliseconds since 1970."""
    return int(time.time() * 1000)


def run_worker(settings: Settings) -> int:
    """Check, compile, run.

    Returns
    -------
    int
        Exit code: 0 after SIGTERM; 2 snapshots cannot be kept; 3 the broker cannot be reached; 4 topics or
        state are refused.
    """
    log = settings.log
    configure_logging(log.level, log.format, log.pseudonym_key_file)
    try:
        snapshots = snapshot_folder(settings)
    except OSError as error:
        logger.critical(
            "no snapshots can be kept in %s: %s. Make room or mend its rights, or do without them: set "
            "state.snapshot_interval_s to 0",
            settings.data_dir / "snapshots",
            error.strerror or error,
        )
        return EXIT_SETTINGS
    use_light_records()
    use_live_connections()
    partitions_of = partition_counts(settings)
    partitions = partitions_of[settings.topics.transactions]
    context = load_context(settings, partitions)
    started = time.monotonic()
    warm_up(context)
    for sentence in settings.cautions():
        logger.warning(sentence)
    logger.info("kernels ready in %.1f s", time.monotonic() - started)
    spare_the_collector()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_main(settings, context, partitions_of, snapshots))


def snapshot_folder(settings: Settings) -> SnapshotFolder | None:
    """Where the settings keep snapshots; None: nowhere. Raises `OSError`."""
    if settings.state.backend != "kafka" or not settings.state.snapshot_interval_s:
        return None
    folder = settings.data_dir / "snapshots" / settings.app_id
    return SnapshotFolder(folder, settings.app_id, settings.topics.state, settings.instance_id, wall_ms)


def spare_the_collector() -> None:
    """Leave what is loaded by now out of Python's cycle collection, and look for cycles less often.

    A batch makes thousands of records and dictionaries, all gone by reference count when it is done. Taking
    them for growth, the collector searched the 200,000 objects of the loaded libraries over and over: 3 to 6
    of 25 us of CPU a payment.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


async def _main(
    settings: Settings,
    context: Context,
    partitions_of: Mapping[str, int],
    snapshots: SnapshotFolder | None,
) -> int:
    return await Worker(settings, context, partitions_of, snapshots).run()
