"""The table that `make chaos` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tests.chaos.verifier import Verdict

HEADINGS = ("scenario", "events", "faults", "decided", "distinct", "repeated", "changed", "missing", "wrong",
            "alerts", "alerts twice or missing", "recovery s")  # fmt: skip


class Row(NamedTuple):
    """One scenario."""

    scenario: str
    faults: int
    verdict: Verdict

    def cells(self) -> tuple[str, ...]:
        """What is printed, in the order of `HEADINGS`."""
        verdict = self.verdict
        numbers = (verdict.events, self.faults, verdict.decided, verdict.distinct, verdict.repeated,
                   verdict.changed, verdict.missing, verdict.wrong, verdict.alerts,
                   verdict.alerts_twice + verdict.alerts_missing)  # fmt: skip
        return (self.scenario, *(f"{number:,}" for number in numbers), f"{verdict.standstill_s:.1f}")


def table(rows: Sequence[Row]) -> str:
    """Rows in Markdown, aligned.

    Examples
    --------
    >>> print(table([Row("kills", 2, Verdict(events=10, decided=11, distinct=10, repeated=1))]))
    | scenario | events | faults | decided | distinct | repeated | changed | missing | wrong | alerts | alerts twice or missing | recovery s |
    |:---------|-------:|-------:|--------:|---------:|---------:|--------:|--------:|------:|-------:|------------------------:|-----------:|
    | kills    |     10 |      2 |      11 |       10 |        1 |       0 |       0 |     0 |      0 |                       0 |        0.0 |
    """  # noqa: E501
    cells = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = [":" + "-" * (widths[0] + 1), *("-" * (width + 1) + ":" for width in widths[1:])]
    lines = []
    for line in cells:
        padded = [line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]
        lines.append("| " + " | ".join(padded) + " |")
    return "\n".join([lines[0], "|" + "|".join(rule) + "|", *lines[1:]])
