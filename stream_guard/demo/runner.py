"""Runs the demo from the first child process to the last line of the summary."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from zoneinfo import ZoneInfo

import orjson
from confluent_kafka import KafkaException
from rich.console import Console

from stream_guard.demo.board import Board
from stream_guard.demo.child import Child
from stream_guard.demo.errors import DemoError
from stream_guard.demo.listener import Reader, Task, investigate, read_dead_letters, read_decisions
from stream_guard.demo.scrape import Figures, fetch, parse
from stream_guard.demo.site import ROOM, Site, embedded_site, real_site
from stream_guard.demo.summary import Summary, compare
from stream_guard.demo.view import PageView, PlainView, Scene, View
from stream_guard.detection.rules import PackError, load_pack
from stream_guard.detection.vocabulary import RuleState
from stream_guard.settings import SettingsError
from stream_guard.simulation.history import History, generate
from stream_guard.simulation.investigators import Desk
from stream_guard.simulation.sender import KafkaSender, SendError, send_history, send_live
from stream_guard.simulation.stream import Live, Record, Topic, accounts_needed, programme
from stream_guard.streaming.topics import BrokerUnreachable, TopicsRefused

READY_TIMEOUT_S = 600.0
"""The first start of an installation compiles for about a minute; on a loaded machine for several."""
SAY_COMPILING_AFTER_S = 4.0
DRAIN_TIMEOUT_S = 120.0
SETTLE_TIMEOUT_S = 15.0
"""From the last disposition until the worker's figures show it: a commit interval, and some."""
TICK_S = 0.05
FRAME_S = 0.25
SCRAPE_EVERY_S = 1.0
STALLED_AFTER_S = 120.0
"""Without one more answer while some are due: something hangs, and waiting longer helps nobody."""
LINGER_MS = 5
"""Gathers a chunk of history into a few batches, and costs a live payment no more than that."""
CROWDED_S = 0.5
"""So many seconds of payments on their way mean that answers are slow to come."""
SWITCH_S = 0.001
"""Python's threads take turns this often here: the 5 ms it would be count as latency of the worker."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

Progress = tuple[float, float, str]


EXPECTED = (
    BrokerUnreachable,
    DemoError,
    KafkaException,
    OSError,
    PackError,
    SendError,
    SettingsError,
    TopicsRefused,
)
"""Failures that end the demo with their sentence; anything else is a defect and shows its traceback."""


@dataclass(frozen=True, slots=True)
class Options:
    """What may be chosen.

    Attributes
    ----------
    seconds
        Length of the live phase.
    seed
        Of the bank, the stream and the investigators.
    rate
        Everyday payments a second in the live phase.
    json_path
        Where to write the summary for a program.
    broker
        Address of a real broker; the embedded one when not given.
    config
        Settings of the worker.
    days
        Length of the history before the live phase. A dormant account takes 190.
    command
        Of the worker, without its arguments. For tests.
    """

    seconds: float = 60.0
    seed: int = 7
    rate: float = 100.0
    json_path: Path | None = None
    broker: str | None = None
    config: Path = Path(__file__).parents[2] / "configs" / "demo.yaml"
    days: float = 200.0
    command: tuple[str, ...] = (sys.executable, "-m", "stream_guard")


def run(options: Options, console: Console | None = None) -> int:
    """Run a demo.

    Parameters
    ----------
    options
        What was chosen.
    console
        Where to show it: a live page if it is a terminal, plain lines otherwise.

    Returns
    -------
    int
        0: all went well. 1: something failed, or an event was lost; a sentence on the console says what.
        130: interrupted.
    """
    screen = console or Console()
    sys.setswitchinterval(SWITCH_S)
    try:
        with ExitStack() as stack:
            # Who is told to terminate ends its children, too.
            stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, _terminate))
            summary = _Demo(options, screen, stack).run()
    except KeyboardInterrupt:
        _say(screen, "stopped; the worker and the broker have ended")
        return INTERRUPTED
    except EXPECTED as error:
        _say(screen, f"the demo ended: {error}")
        return 1
    # Everything has ended by now, so that nothing is said after the summary.
    for line in summary.lines():
        _say(screen, line)
    if options.json_path is not None:
        options.json_path.write_bytes(orjson.dumps(summary.as_json(), option=orjson.OPT_INDENT_2) + b"\n")
    return 0 if summary.lost == 0 else 1


def _terminate(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _say(screen: Console, line: str) -> None:
    screen.print(line, markup=False, highlight=False, soft_wrap=True)


class _Demo:
    def __init__(self, options: Options, console: Console, stack: ExitStack) -> None:
        self.options = options
        self.stack = stack
        run = f"{options.seed}-{round(time.time()):x}"
        self.site: Site = (
            embedded_site(options.config, run, stack)
            if options.broker is None
            else real_site(options.config, run, options.broker, stack)
        )
        self.board = Board()
        self.children: list[Child] = [self.site.embedded] if self.site.embedded is not None else []
        self.tasks: list[Task] = []
        self.figures = Figures()
        self.next_scrape = self.next_frame = 0.0
        header = self.site.header
        view: View = PageView(console, header) if console.is_terminal else PlainView(console)
        self.view = stack.enter_context(view)
        if not console.is_terminal:
            self.view.say(header)

    def run(self) -> Summary:
        options = self.options
        plays = programme(options.seconds, options.seed)
        worker = Child("worker", [*options.command, "worker", "-c", str(options.config)], self.site.overrides)
        self.stack.callback(worker.stop)
        worker.start()
        self.children.append(worker)
        history = generate(
            options.seed,
            round(time.time() * 1000),
            days=options.days,
            accounts=accounts_needed(plays),
            live=[name for _, name in plays],
            zone=ZoneInfo(self.site.settings.bank.timezone),
        )
        desk = Desk(history.truth, options.seed)
        self._wait_ready(worker)
        self._listen(desk)
        # One for both phases: a new producer takes a second for its first record.
        topics = {topic: self.site.topic(topic.value) for topic in Topic}
        sender = KafkaSender(self.site.brokers, topics, self.site.client, LINGER_MS)
        self._warm_up(history, sender)
        self._live(history, plays, sender)
        return self._finish(desk)

    # -- phases --------------------------------------------------------------------------------------------

    def _wait_ready(self, worker: Child) -> None:
        started = time.time()
        said = False
        while True:
            self._check()
            status, sentence = fetch(f"{self.site.url}/readyz")
            if status == 200:
                return
            waited = time.time() - started
            if not said and waited > SAY_COMPILING_AFTER_S:
                said = True
                self.view.say(
                    "the worker compiles its kernels; the first start takes about a minute, "
                    "later ones find them on the disk"
                )
            if waited > READY_TIMEOUT_S:
                raise DemoError(
                    f"the worker is not ready after {waited:.0f} s: {sentence}\n{worker.last_words()}"
                )
            self._show("starting the worker", (waited, 0, "s"))
            time.sleep(4 * TICK_S)

    def _warm_up(self, history: History, sender: KafkaSender) -> None:
        def body(stopping: Event) -> None:
            send_history(history, sender, room=self._room, on_sent=self._sent, stopped=stopping)

        task = self._start(Task("history", body))
        self._until(
            lambda: not task.is_alive() and self.board.settled(),
            f"warm-up with {self.options.days / 30.4:.0f} months of history",
            lambda: (self.board.answered, len(history), "payments"),
        )

    def _live(self, history: History, plays: list[tuple[float, str]], sender: KafkaSender) -> None:
        options = self.options
        self.board.go_live()
        start = time.time()
        live = Live(
            history,
            plays,
            rate=options.rate,
            seconds=options.seconds,
            start_ms=round(start * 1000),
            seed=options.seed,
            bad=True,
        )

        def body(stopping: Event) -> None:
            send_live(
                live,
                sender,
                until_s=start + options.seconds,
                on_sent=self._sent,
                crowded=lambda: self.board.outstanding > CROWDED_S * options.rate,
                stopped=stopping,
            )

        task = self._start(Task("bank", body))
        self._until(lambda: not task.is_alive(), "live", lambda: (time.time() - start, options.seconds, "s"))

    def _finish(self, desk: Desk) -> Summary:
        if self._until(self.board.settled, "draining", timeout_s=DRAIN_TIMEOUT_S):
            self._until(
                lambda: not desk.at_work and self._agrees(), "last dispositions", timeout_s=SETTLE_TIMEOUT_S
            )
        self._scrape(force=True)
        seen, figures = self.board.snapshot(time.time()), self.figures
        pack = load_pack(*self.site.settings.models.read("pack"))
        return Summary(
            events=seen.events,
            decided=seen.decided,
            dead_letters=seen.dead_letters,
            warnings=seen.warnings,
            decisions=seen.decisions,
            dispositions=seen.dispositions,
            hit_rate=figures.hit_rate,
            hits=figures.hits,
            judged=figures.judged,
            amount_intercepted=round(figures.intercepted, 2),
            latency=self.board.latency(),
            fired=seen.fired,
            live_rules=[rule.id for rule in pack.rules if rule.state is RuleState.LIVE],
            discrepancies=compare(seen, figures),
        )

    # -- who takes part ------------------------------------------------------------------------------------

    def _listen(self, desk: Desk) -> None:
        site, board = self.site, self.board
        decisions, dead, alerts = (
            Reader(site.brokers, site.topic(role), site.reader)
            for role in ("decisions", "dead_letters", "alerts")
        )
        self._start(Task("reader of decisions", read_decisions(decisions, board)))
        self._start(
            Task("reader of dead letters", read_dead_letters(dead, board, site.topic("transactions")))
        )
        mailbox = KafkaSender(site.brokers, {}, site.client)
        self._start(
            Task("investigators", investigate(alerts, board, desk, mailbox, site.topic("dispositions")))
        )

    def _start(self, task: Task) -> Task:
        self.tasks.append(task)
        self.stack.callback(task.end)
        task.start()
        return task

    # -- small things --------------------------------------------------------------------------------------

    def _room(self) -> bool:
        return self.board.outstanding < ROOM

    def _sent(self, record: Record, at: float) -> None:
        if record.topic is Topic.TRANSACTIONS:
            self.board.sent(record.event_id, at, bad=record.bad, repeat=record.repeat)

    def _agrees(self) -> bool:
        return not compare(self.board.snapshot(time.time()), self.figures)

    def _until(
        self,
        done: Callable[[], bool],
        phase: str,
        progress: Callable[[], Progress] = lambda: (0, 0, ""),
        timeout_s: float = float("inf"),
    ) -> bool:
        """Show what goes on until it is done; False when the time is over before."""
        started = last_answer = time.time()
        answered = -1
        while not done():
            now = time.time()
            if now - started > timeout_s:
                return False
            self._check()
            if self.board.answered != answered or not self.board.outstanding:
                answered, last_answer = self.board.answered, now
            if now - last_answer > STALLED_AFTER_S:
                raise DemoError(
                    f"no decision came for {STALLED_AFTER_S:.0f} s, {self.board.outstanding} payments wait; "
                    f"the worker's last lines:\n{self.children[-1].last_words()}"
                )
            self._scrape()
            self._show(phase, progress())
            time.sleep(TICK_S)
        return True

    def _show(self, phase: str, progress: Progress) -> None:
        now = time.time()
        if now >= self.next_frame:
            self.next_frame = now + FRAME_S
            self.view.show(Scene(phase, *progress, self.board.snapshot(now), self.figures), now)

    def _scrape(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if force or now >= self.next_scrape:
            self.next_scrape = now + SCRAPE_EVERY_S
            status, body = fetch(f"{self.site.url}/metrics")
            if status == 200:
                self.figures = parse(body)

    def _check(self) -> None:
        for child in self.children:
            child.check()
        for task in self.tasks:
            if task.failure is not None:
                raise DemoError(f"{task.name} failed: {task.failure}") from task.failure
