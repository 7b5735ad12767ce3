"""The corpus of bad records, against the parsers alone."""

from __future__ import annotations

from collections import Counter

from stream_guard.detection.vocabulary import Rejection
from stream_guard.events import (
    parse_account_update,
    parse_disposition,
    parse_risk_signal,
    parse_transactions,
)
from tests.chaos.poison import (
    NOON,
    Poison,
    poisoned_dispositions,
    poisoned_payments,
    poisoned_signals,
    poisoned_updates,
)

LATER = {
    "wrong_key", "wrong_partition", "future", "too_old", "unknown_currency", "unknown_warning",
    "wrong_account",
}  # fmt: skip
"""Reasons that need more than the value: its key, its place, the clock, the account, the bank."""

PAYMENTS = list(poisoned_payments(3, NOON))
UPDATES = list(poisoned_updates(3))
DISPOSITIONS = list(poisoned_dispositions(3, "0" * 31 + "1", "W1"))
SIGNALS = list(poisoned_signals())


def differs(poison: Poison, read: object) -> str | None:
    """What is wrong with an answer of a parser."""
    got = str(read.reason) if isinstance(read, Rejection) else "accepted"
    if got == poison.reason or (got == "accepted" and poison.reason in LATER):
        return None
    return f"{poison.kind}: {got}, not {poison.reason}"


def test_every_kind_is_refused_for_its_reason() -> None:
    refused = [(parse_transactions([poison.value])[2] or [None])[0] for poison in PAYMENTS]
    wrong = [differs(poison, read) for poison, read in zip(PAYMENTS, refused, strict=True)]
    wrong += [differs(poison, parse_account_update(poison.value, poison.key)) for poison in UPDATES]
    wrong += [differs(poison, parse_disposition(poison.value, poison.key)) for poison in DISPOSITIONS]
    wrong += [differs(poison, parse_risk_signal(poison.key, poison.value)) for poison in SIGNALS]
    assert [line for line in wrong if line] == []


def test_a_batch_of_them_is_refused_as_each_by_itself() -> None:
    together = parse_transactions([poison.value for poison in PAYMENTS])[2]
    alone = [
        rejection._replace(index=index)
        for index, poison in enumerate(PAYMENTS)
        for rejection in parse_transactions([poison.value])[2]
    ]
    assert together == alone


def test_the_kinds_are_many_and_different() -> None:
    kinds = Counter(poison.kind for poison in (*PAYMENTS, *UPDATES, *DISPOSITIONS, *SIGNALS))
    assert max(kinds.values()) == 1
    assert len(kinds) > 400
