"""Why a demo may end early."""

from __future__ import annotations


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


class ChildError(DemoError):
    """A child process did not start or died; the message holds its last lines."""
