"""What Alertmanager's receivers would get: a web hook that keeps it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Inbox:
    """Names of alerts by receiver."""

    def __init__(self) -> None:
        self.received: dict[str, set[str]] = {}
        self.url = ""


@contextmanager
def open_inbox() -> Iterator[Inbox]:
    """Listen on loopback until the end of the block."""
    inbox = Inbox()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            names = {alert["labels"]["alertname"] for alert in body["alerts"]}
            inbox.received.setdefault(self.path.strip("/"), set()).update(names)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    inbox.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield inbox
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
