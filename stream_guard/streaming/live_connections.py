"""Connections that say so when they are gone: what uvloop does differently from what aiokafka expects.

To write to a socket that is closed already raises `OSError` on asyncio's loop and `RuntimeError` on uvloop's.
aiokafka takes the first for a lost connection and tries again. The second it does not expect: the task that
renews a client's metadata died of it, without a word, and whoever asked for metadata from then on waited for
ever. Seen when a broker was restarted: the worker kept running, out of its group and with its probes failing.
"""

from __future__ import annotations

from typing import Any

from aiokafka import conn
from aiokafka.errors import KafkaConnectionError


class LiveConnection(conn.AIOKafkaConnection):  # type: ignore[misc]
    """A connection that refuses to write to a closed socket as aiokafka expects it."""

    def send(self, request: Any, expect_response: bool = True) -> Any:
        """Send a request. Raises `KafkaConnectionError`."""
        self._require_open()
        return super().send(request, expect_response)

    def _send_sasl_token(self, payload: Any, expect_response: bool = True) -> Any:
        self._require_open()
        return super()._send_sasl_token(payload, expect_response)

    def _require_open(self) -> None:
        if self._writer is not None and self._writer.is_closing():
            self.close(reason=conn.CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self._host}:{self._port} is closed")


def use_live_connections() -> None:
    """Let every aiokafka client made from now on in this process connect like that."""
    conn.AIOKafkaConnection = LiveConnection
