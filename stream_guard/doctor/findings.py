"""What an examination finds: one line each, with what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a finding is to be taken."""

    OK = "ok"
    WARNING = "warning"
    """Allowed, and yet better otherwise; or not to be told from here."""
    ERROR = "error"
    """Payments are or would be lost, late, undecided or decided wrongly."""


@dataclass(frozen=True)
class Finding:
    """One line of an examination.

    Attributes
    ----------
    check
        What was looked at: ``topics``, ``partitioner`` and so on.
    verdict
        How to take it.
    message
        What was found; where something is wrong, also what to do.
    """

    check: str
    verdict: Verdict
    message: str


def ok(check: str, message: str) -> Finding:
    """All is as it should be."""
    return Finding(check, Verdict.OK, message)


def warning(check: str, message: str) -> Finding:
    """Better otherwise."""
    return Finding(check, Verdict.WARNING, message)


def error(check: str, message: str) -> Finding:
    """Wrong."""
    return Finding(check, Verdict.ERROR, message)
