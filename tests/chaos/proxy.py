"""A network that can be cut and slowed: a TCP proxy on loopback, between one worker and the broker."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType

PIECE = 16 * 1024
LOOK_S = 0.05


class Proxy:
    """Passes bytes on; a context manager that stops it.

    Attributes
    ----------
    port
        Where it listens.
    delay_s
        How long each piece of up to 16 KiB is held back, in each direction.
    """

    def __init__(self) -> None:
        self.delay_s = 0.0
        self._target: tuple[str, int] | None = None
        self._open = threading.Event()
        self._open.set()
        self._stopped = False
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def lead_to(self, port: int) -> None:
        """Pass on to this port of loopback."""
        self._target = ("127.0.0.1", port)

    def cut(self) -> None:
        """Nothing passes from now on and nobody is told, as with a cable pulled out."""
        self._open.clear()

    def mend(self) -> None:
        """What was under way arrives, and everything passes again."""
        self._open.set()

    def break_off(self) -> None:
        """Close every connection, as a restarted firewall does; new ones are taken."""
        sockets, self._sockets = self._sockets, []
        for one in sockets:
            _close(one)

    def _accept(self) -> None:
        while not self._stopped:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._target is None:
                client.close()
                continue
            try:
                broker = socket.create_connection(self._target, 5)
            except OSError:
                client.close()
                continue
            broker.settimeout(None)
            self._sockets += [client, broker]
            for source, sink in ((client, broker), (broker, client)):
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE):
                time.sleep(self.delay_s)
                while not self._open.wait(LOOK_S):
                    if self._stopped:
                        return
                sink.sendall(piece)
        self._open.wait()  # the other end does not hear of a close through a cut cable either
        _close(source)
        _close(sink)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = True
        self._open.set()
        self._listener.close()
        self.break_off()


def _close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
