"""A recorded history: a Parquet file of payments, and the accounts file beside it.

Reads the canonical columns, whatever the file calls them, in event order; everything else in the file,
labels above all, is never read.
"""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

TEXTS = (
    "event_id",
    "account",
    "counterparty",
    "currency",
    "type",
    "channel",
    "payer_kind",
    "payee_kind",
    "device_id",
    "ip",
)
NUMBERS = ("amount", "payer_balance_before", "payee_balance_before", "latitude", "longitude")
REQUIRED = ("event_id", "ts", "account", "counterparty", "amount")
CANONICAL = ("ts", *TEXTS, *NUMBERS)

BATCH_ROWS = 16_384
"""Rows turned into Python at a time: large enough that Arrow's calls cost nothing, a few MB of memory."""


TIMES_AT_ONCE = 131_072
"""Event times looked at at a time: 1 MB."""


class HistoryError(Exception):
    """A file that cannot be read as a history; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class Events:
    """Some payments in event order.

    Attributes
    ----------
    ts
        Event times, epoch ms.
    rows
        One message each, ready for JSON: canonical fields, those without a value left out.
    """

    ts: list[int]
    rows: list[dict[str, Any]]


class History:
    """A Parquet file of payments.

    Parameters
    ----------
    path
        The file.
    columns
        Name in the file by canonical name, where the two differ.

    Raises
    ------
    HistoryError
        When the file is none, or lacks a required column.
    """

    def __init__(self, path: Path, columns: Mapping[str, str] | None = None) -> None:
        self._path = path
        renamed = dict(columns or {})
        unknown = sorted(set(renamed) - set(CANONICAL))
        if unknown:
            raise HistoryError(
                f"'{unknown[0]}' is no canonical column: map to one of {', '.join(sorted(CANONICAL))}."
            )
        if not path.is_file():
            raise HistoryError(f"{path}: there is no such file.")
        try:
            self._file = pq.ParquetFile(path)
        except (OSError, pa.ArrowException) as error:
            raise HistoryError(
                f"{path} cannot be read as a Parquet file: {str(error).rstrip('.')}."
            ) from error
        have = self._file.schema_arrow.names
        for name, column in renamed.items():
            if column not in have:
                raise HistoryError(
                    f"{path} has no column '{column}' to map {name} from; it has {', '.join(have)}."
                )
        self._columns = {
            name: renamed.get(name, name) for name in CANONICAL if renamed.get(name, name) in have
        }
        missing = [name for name in REQUIRED if name not in self._columns]
        if missing:
            raise HistoryError(
                f"{path} has no column for {', '.join(missing)}: say which it is, as in --map"
                f" {missing[0]}=COLUMN; it has {', '.join(have)}."
            )

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    @property
    def ignored(self) -> tuple[str, ...]:
        """Columns of the file that are not read."""
        used = set(self._columns.values())
        return tuple(name for name in self._file.schema_arrow.names if name not in used)

    def first_ts(self) -> int | None:
        """Time of the earliest payment, epoch ms; None when there is no payment."""
        return self._span[0]

    def last_ts(self) -> int | None:
        """Time of the latest payment, epoch ms; None when there is no payment."""
        return self._span[1]

    def count_before(self, ts: int) -> int:
        """Number of payments earlier than a time, epoch ms."""
        column = self._columns["ts"]
        batches = self._file.iter_batches(TIMES_AT_ONCE, columns=[column])
        return sum(
            int(pc.sum(pc.less(_epoch_ms(batch.column(0), column), ts)).as_py() or 0) for batch in batches
        )

    def batches(self, limit: int | None = None) -> Iterator[Events]:
        """Payments in event order; those of one time in the order of the file.

        A file that is in order already, as a log is, is read piece by piece; any other is sorted in memory.
        """
        left = len(self) if limit is None else limit
        for batch in self._ordered(list(self._columns.values())):
            if left <= 0:
                return
            events = self._events(batch.slice(0, left))
            left -= len(events.rows)
            yield events

    def columns(self) -> Iterator[dict[str, list[Any]]]:
        """As `batches`, column by column: canonical fields with None where a payment has no value."""
        for batch in self._ordered(list(self._columns.values())):
            yield {name: array.to_pylist() for name, array in self._arrays(batch).items()}

    def beside(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Other columns of the file in the order of the events, for those who judge and never for detection.

        Parameters
        ----------
        columns
            Names in the file.

        Raises
        ------
        HistoryError
            If the file lacks one.
        """
        have = self._file.schema_arrow.names
        for name in columns:
            if name not in have:
                raise HistoryError(f"{self._path} has no column '{name}'; it has {', '.join(have)}.")
        return self._ordered(list(columns))

    @property
    def names(self) -> tuple[str, ...]:
        """Every column of the file."""
        return tuple(self._file.schema_arrow.names)

    def _ordered(self, wanted: list[str]) -> Iterator[pa.RecordBatch]:
        if self._span[2]:
            yield from self._file.iter_batches(BATCH_ROWS, columns=wanted)
            return
        column = self._columns["ts"]
        ts = _epoch_ms(self._file.read(columns=[column])[column].combine_chunks(), column)
        order = pc.sort_indices(ts)  # stable
        yield from self._file.read(columns=wanted).take(order).to_batches(max_chunksize=BATCH_ROWS)

    @cached_property
    def _span(self) -> tuple[int | None, int | None, bool]:
        """Earliest and latest time, and whether the file is in order; read piece by piece."""
        column = self._columns["ts"]
        first = last = previous = None
        in_order = True
        for batch in self._file.iter_batches(TIMES_AT_ONCE, columns=[column]):
            ts = _epoch_ms(batch.column(0), column)
            if ts.null_count:
                raise HistoryError(
                    f"Column '{column}' of {self._path} has no time in {self._without_time():,} rows: remove"
                    " them first."
                )
            if not len(ts):
                continue
            low, high = (int(value.as_py()) for value in pc.min_max(ts).values())
            rises = pc.all(pc.greater_equal(ts[1:], ts[:-1])).as_py() is not False
            in_order = in_order and rises and (previous is None or ts[0].as_py() >= previous)
            previous = ts[-1].as_py()
            first = low if first is None else min(first, low)
            last = high if last is None else max(last, high)
        return first, last, in_order

    def _without_time(self) -> int:
        column = self._columns["ts"]
        batches = self._file.iter_batches(TIMES_AT_ONCE, columns=[column])
        return sum(batch.column(0).null_count for batch in batches)

    def _events(self, batch: pa.RecordBatch) -> Events:
        arrays = self._arrays(batch)
        values = {name: array.to_pylist() for name, array in arrays.items()}
        rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
        if any(array.null_count for array in arrays.values()):
            rows = [{name: value for name, value in row.items() if value is not None} for row in rows]
        return Events(values["ts"], rows)

    def _arrays(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """Canonical columns as epoch ms, numbers and texts."""
        arrays = {}
        for name, column in self._columns.items():
            array = batch.column(column)
            if name == "ts":
                arrays[name] = _epoch_ms(array, column)
            else:
                arrays[name] = _plain(array, column, pa.float64() if name in NUMBERS else pa.string())
        return arrays


def account_updates(path: Path, first_ts: int) -> Iterator[dict[str, Any]]:
    """Messages with the facts of an accounts file (CSV, also gzipped), dated before the first payment.

    Reads the columns `account`, `opened` (epoch ms, date or RFC 3339), `holder_birth_year` or `age` (in
    years, at the first payment) and `kind`; an account without any of these facts gets no message.

    Parameters
    ----------
    path
        The accounts file.
    first_ts
        Time of the earliest payment of the history, epoch ms.

    Raises
    ------
    HistoryError
        When the file cannot be read or a fact is no fact; the message names the line.
    """
    year = datetime.fromtimestamp(first_ts / 1000, UTC).year
    if not path.is_file():
        raise HistoryError(f"{path}: there is no such file.")
    try:
        with open_text(path) as file:
            reader = csv.DictReader(file)
            if "account" not in (reader.fieldnames or ()):
                raise HistoryError(f"{path} has no column 'account', so it is no accounts file.")
            for row in reader:
                facts = _facts(row, year, f"{path}, line {reader.line_num}")
                if facts and row["account"]:
                    yield {"account": row["account"], "ts": first_ts - 1, **facts}
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise HistoryError(f"{path} cannot be read as a CSV file: {error}.") from error


def _facts(row: Mapping[str, str | None], year: int, place: str) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if opened := row.get("opened"):
        facts["opened"] = int(opened) if opened.lstrip("-").isdigit() else opened
    if born := row.get("holder_birth_year"):
        facts["holder_birth_year"] = _whole(born, "holder_birth_year", place)
    elif age := row.get("age"):
        facts["holder_birth_year"] = year - _whole(age, "age", place)
    if kind := row.get("kind"):
        facts["kind"] = kind
    return facts


def _whole(text: str, name: str, place: str) -> int:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise HistoryError(f"{place}: {name} is '{text[:20]}' and should be a number of years.")
    return math.floor(number)


def open_text(path: Path) -> IO[str]:
    """Text file, gzipped where its name says so."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _epoch_ms(array: pa.Array, column: str) -> pa.Array:
    """Times as epoch ms: timestamps of any unit (UTC where they name no zone), dates, whole ms."""
    kind = array.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        zone = getattr(kind, "tz", None)
        return array.cast(pa.timestamp("ms", zone), safe=False).cast(pa.int64())
    if pa.types.is_integer(kind):
        return array.cast(pa.int64())
    raise HistoryError(
        f"Column '{column}' holds {kind} and not times: use timestamps, or whole epoch milliseconds."
    )


def _plain(array: pa.Array, column: str, kind: pa.DataType) -> pa.Array:
    """Column as texts or numbers; a number that is none (NaN) is a missing value."""
    try:
        array = array.cast(kind)
    except pa.ArrowException as error:
        raise HistoryError(f"Column '{column}' cannot be read as {kind}: {error}.") from error
    if pa.types.is_floating(kind):
        return pc.if_else(pc.is_nan(array), pa.scalar(None, kind), array)
    return array
