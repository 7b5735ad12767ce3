"""What a rule pack would have done on a recorded history, and whether it would have been right.

`run` decides the history by `detection.in_step`, with one payment in flight at a time, and judges what came
out. The protocol:

- Everything before the judged period warms profiles and anomaly models; warnings begin with the period.
- Candidates are the accounts of the accounts file with a judged payment. Positive is a candidate with
  ``fraud_account = 1`` that is a party to a payment with ``is_fraud`` in the judged period; where payments
  have no labels, one with ``fraud_account = 1``. Without an accounts file every account is a candidate, and
  positive where it is a party to fraud. K is the number of positives.
- A warning on a positive is a hit, on another candidate a false positive. Warnings on accounts of role
  ``victim`` and on accounts that the file does not know are reported apart and are neither.
- Detection sees canonical columns and the facts ``opened``, age and ``kind``, and no label ever.
"""

from __future__ import annotations

from stream_guard.backtest.labels import LABELS, AccountLabels, account_labels
from stream_guard.backtest.passage import Inputs, Progress
from stream_guard.backtest.period import Period, PeriodError, period
from stream_guard.backtest.runner import Result, run

__all__ = [
    "LABELS",
    "AccountLabels",
    "Inputs",
    "Period",
    "PeriodError",
    "Progress",
    "Result",
    "account_labels",
    "period",
    "run",
]
