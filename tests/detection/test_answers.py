"""What was answered of late, by payment, and no more of it than there is room for."""

from __future__ import annotations

import numpy as np

from stream_guard.detection.answers import Answers
from stream_guard.detection.batches import Legs
from stream_guard.detection.vocabulary import Action
from tests.detection.builders import Bench, event

ALL = np.arange(3)


def legs(*payers: str) -> Legs:
    """The payment "one" of each payer."""
    return Bench().first(*(event("one", account=payer) for payer in payers))


def test_an_answer_is_of_one_event_of_one_payer() -> None:
    answers, three = Answers(), legs("A", "B", "C")
    answers.keep(three, np.array([0, 2]), np.array([Action.DELAY, Action.ALLOW, Action.STOP], np.uint8))
    assert answers.of(three, ALL).tolist() == [Action.DELAY, Action.ALLOW, Action.STOP]
    assert answers.of(legs("D", "B", "A"), ALL).tolist() == [Action.ALLOW, Action.ALLOW, Action.DELAY]


def test_the_oldest_leave_when_there_are_too_many() -> None:
    answers, three = Answers(kept=2), legs("A", "B", "C")
    for place in ALL:
        answers.keep(three, np.array([place]), np.full(3, Action.HOLD, np.uint8))
    assert answers.of(three, ALL).tolist() == [Action.ALLOW, Action.HOLD, Action.HOLD]
