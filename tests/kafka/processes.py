"""Child processes that tests start, fault and end, and that never outlive the tests."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path


@contextlib.contextmanager
def in_background(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run something beside the block; it is told by the event when the block is over, and waited for."""
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,), name=work.__name__, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class Child:
    """A running process, its output in a file; killed when whoever started it dies, however that dies.

    Parameters
    ----------
    command
        Program and arguments.
    log
        File that both of its outputs are appended to.
    folder
        Its working directory.
    environment
        Its whole environment; None passes ours on.
    """

    def __init__(
        self, command: Sequence[str], *, log: Path, folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
        # Its standard input closes when we die, even by SIGKILL; only then does it get past `cat`.
        self._watch = subprocess.Popen(
            ["sh", "-c", f"cat >/dev/null; kill -9 {self._process.pid} 2>/dev/null"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def send(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def wait(self, timeout_s: float) -> int:
        """Exit code of a process that ends by itself; TimeoutError if it does not, and it runs on."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"process {self.pid} still runs after {timeout_s:.0f} s") from None
        self._unwatch()
        return code

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 30.0) -> int:
        """End it by a signal, by force after `timeout_s`; returns the exit code."""
        self._process.send_signal(number)
        self._process.send_signal(signal.SIGCONT)  # a frozen process meets SIGTERM only when it goes on
        with contextlib.suppress(TimeoutError):
            return self.wait(timeout_s)
        self._process.kill()
        return self.wait(timeout_s)

    def tail(self, lines: int = 40) -> str:
        """Last lines of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _unwatch(self) -> None:
        if self._watch.returncode is None:
            self._watch.kill()
            self._watch.wait()
            if self._watch.stdin is not None:
                self._watch.stdin.close()
