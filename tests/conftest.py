"""Settings of every test."""

from __future__ import annotations

from hypothesis import settings

# Half of hypothesis' 100 examples: the quick suite is to take less than a minute, and runs many times a day.
# No deadline, because the first example of a kernel compiles it.
settings.register_profile("project", max_examples=50, deadline=None)
settings.load_profile("project")
