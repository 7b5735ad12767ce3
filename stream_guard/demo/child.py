"""A child process whose output is kept for the day it dies."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from stream_guard.demo.errors import ChildError

LAST_LINES = 15
_STOP_TIMEOUT_S = 12.0


class Child:
    """A process with captured output.

    Parameters
    ----------
    name
        For messages.
    command
        Program and arguments.
    env
        Variables on top of this process' environment.
    stdin
        As for `subprocess.Popen`.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self.name = name
        self._command = list(command)
        self._env = {**os.environ, **(env or {})}
        self._stdin = stdin
        self._process: subprocess.Popen[str] | None = None
        self._lines: deque[str] = deque(maxlen=200)
        self._first: queue.Queue[str] = queue.Queue()
        self._readers: list[threading.Thread] = []

    def start(self) -> None:
        """Start the process and the threads that read what it says."""
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and modules
            self._command,
            env=self._env,
            stdin=self._stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # A group of its own: Ctrl-C in the terminal is for us, and we end our children in order.
            start_new_session=True,
        )
        for stream, is_output in ((self._process.stdout, True), (self._process.stderr, False)):
            reader = threading.Thread(target=self._read, args=(stream, is_output), daemon=True)
            reader.start()
            self._readers.append(reader)

    def _read(self, stream: Any, is_output: bool) -> None:
        for line in stream:
            self._lines.append(line.rstrip())
            if is_output:
                self._first.put(line.strip())
        if is_output:
            self._first.put("")

    def first_line(self, timeout_s: float) -> str:
        """The first line of its output; empty when it ended or said nothing in time."""
        try:
            return self._first.get(timeout=timeout_s)
        except queue.Empty:
            return ""

    @property
    def pid(self) -> int | None:
        """Process id, once started."""
        return self._process.pid if self._process is not None else None

    @property
    def alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def check(self) -> None:
        """Make sure that it is alive.

        Raises
        ------
        ChildError
            It is not; with its exit code and last lines.
        """
        code = self._process.poll() if self._process is not None else None
        if code is not None:
            for reader in self._readers:
                reader.join(1.0)
            raise ChildError(
                f"the {self.name} ended unexpectedly with code {code}; its last lines:\n{self.last_words()}"
            )

    def last_words(self) -> str:
        """Its last lines, indented."""
        return "\n".join(f"  {line}" for line in list(self._lines)[-LAST_LINES:]) or "  (it said nothing)"

    def stop(self) -> int | None:
        """End it: politely first. Returns its exit code, None when it never started."""
        process = self._process
        if process is None:
            return None
        if process.stdin is not None:
            process.stdin.close()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for reader in self._readers:
            reader.join(1.0)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        return process.returncode
