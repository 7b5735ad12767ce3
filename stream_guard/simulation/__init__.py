"""A bank to try things on: accounts with habits, every typology injected and labelled, all from one seed.

- :mod:`~stream_guard.simulation.bank`: who banks here (persons, shops, companies) and the outside world;
- :mod:`~stream_guard.simulation.habits`: what they do on ordinary days;
- :mod:`~stream_guard.simulation.typologies`: what fraud does, and innocent behaviour that looks like it;
- :mod:`~stream_guard.simulation.history`: months of the past, as columns;
- :mod:`~stream_guard.simulation.files`: the same as files with labels;
- :mod:`~stream_guard.simulation.stream`: the same bank live, event by event, as time goes by;
- :mod:`~stream_guard.simulation.investigators`: who reads the warnings and disposes of them;
- :mod:`~stream_guard.simulation.sender`: puts records on Kafka.

The same arguments give the same bank, byte for byte. Labels (:class:`~stream_guard.simulation.scene.Truth`)
are for the simulated investigators and for files; no record that goes to Kafka carries one.
"""

from __future__ import annotations

from stream_guard.simulation.files import write_history
from stream_guard.simulation.history import History, generate
from stream_guard.simulation.scene import Truth
from stream_guard.simulation.stream import Live, Record, Topic

__all__ = ["History", "Live", "Record", "Topic", "Truth", "generate", "write_history"]
