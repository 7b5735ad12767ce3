"""Which part of a history is judged."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo

from stream_guard.events import epoch_ms

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class PeriodError(ValueError):
    """A period that cannot be used; the message is one sentence that says what to write."""


@dataclass(frozen=True)
class Period:
    """The judged part of a history, epoch ms: ``start <= ts < end``. Nothing is read from `end` on."""

    start: int
    end: int

    @property
    def days(self) -> float:
        """Length in days."""
        return (self.end - self.start) / 86_400_000

    def as_dict(self) -> dict[str, str | float]:
        """For programs: RFC 3339 in UTC."""
        return {"from": _text(self.start), "until": _text(self.end), "days": round(self.days, 4)}


def period(
    first: int,
    last: int,
    zone: tzinfo,
    *,
    begin: str | None = None,
    until: str | None = None,
    warm_up: str | None = None,
) -> Period:
    """Judged period of a history.

    Parameters
    ----------
    first, last
        Times of its earliest and latest payment, epoch ms.
    zone
        Of the bank; a date is its first moment there.
    begin, until
        A date, an RFC 3339 time, or a fraction of the time span such as ``0.6``; `until` itself is left
        out, 1 is the end. Default: everything.
    warm_up
        Instead of `begin`: how long the beginning only warms, such as ``30d``.

    Raises
    ------
    PeriodError

    Examples
    --------
    >>> day = 86_400_000
    >>> judged = period(0, 10 * day, UTC, begin="0.6", until="1970-01-10")
    >>> judged.start // day, judged.end // day
    (6, 9)
    >>> period(0, 10 * day, UTC, warm_up="12h", until="1970-01-10").days
    8.5
    """
    if begin is not None and warm_up is not None:
        raise PeriodError("--from and --warmup both say where judging begins: give one of them.")
    start = first if begin is None else _moment("--from", begin, first, last, zone)
    if warm_up is not None:
        start = first + _span_ms(warm_up)
    end = last + 1 if until is None else _moment("--until", until, first, last, zone)
    end = min(end, last + 1)
    start = max(start, first)
    if start >= end:
        raise PeriodError(
            f"Nothing is left to judge from {_text(start)} until {_text(end)}: the history goes from"
            f" {_text(first)} to {_text(last)}."
        )
    return Period(start, end)


def _moment(option: str, text: str, first: int, last: int, zone: tzinfo) -> int:
    if re.fullmatch(r"[01]|[01]?\.[0-9]+|1\.0*", text) and 0 <= float(text) <= 1:
        # The last payment lies inside the span as a whole.
        return last + 1 if float(text) == 1 else first + round(float(text) * (last - first))
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            day = date.fromisoformat(text)
            return round(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1000)
        return epoch_ms(text)
    except ValueError:
        raise PeriodError(
            f"{option} {text}: write a date such as 2017-08-01, or a fraction of the history such as 0.6."
        ) from None


def _span_ms(text: str) -> int:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd])", text)
    if match is None:
        raise PeriodError(f"--warmup {text}: write a number with s, m, h or d, such as 30d.")
    return round(timedelta(**{_UNITS[match[2]]: float(match[1])}).total_seconds() * 1000)


def _text(ms: int) -> str:
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds" if ms % 1000 else "seconds").replace("+00:00", "Z")
