"""The demo: an embedded broker, a worker, a simulated bank and investigators, and a view of what happens.

Everything between them is the real thing: the worker is the process that a bank runs, started with another
configuration, and all talk Kafka's protocol over loopback. Only the broker is a stand-in (librdkafka's mock
cluster: no transactions, so the worker keeps its state in memory) unless a real one is named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream_guard.demo.runner import Options, run

__all__ = ["Options", "run"]


def __getattr__(name: str) -> Any:
    """Import the runner when somebody wants it: the broker's process has no use for all that it imports."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from stream_guard.demo import runner

    return getattr(runner, name)
