"""Labels of accounts and payments: for judging alone, never anywhere near detection."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from stream_guard.history import History, HistoryError, open_text

LABELS: Final = (
    "is_fraud",
    "fraud_scenario",
    "fraud_group",
    "is_anomaly_benign",
    "fraud_account",
    "role",
    "first_fraud_ts",
    "last_fraud_ts",
    "n_fraud_events",
    "fraud_step",
)
"""Columns that nothing may be mapped from: what they say is known only afterwards."""

VICTIM: Final = "victim"


@dataclass(frozen=True)
class AccountLabels:
    """What an accounts file says about accounts, by id.

    Attributes
    ----------
    fraud
        ``fraud_account``; None where the file has no such column.
    victims
        Accounts of role ``victim`` alone.
    """

    accounts: tuple[str, ...]
    fraud: Mapping[str, bool] | None = None
    victims: frozenset[str] = field(default_factory=frozenset)


def account_labels(path: Path) -> AccountLabels:
    """Labels of an accounts file (CSV, also gzipped).

    Raises
    ------
    HistoryError
        When it cannot be read, or `fraud_account` is neither 0 nor 1; the message names the line.
    """
    names: list[str] = []
    fraud: dict[str, bool] = {}
    victims: list[str] = []
    try:
        with open_text(path) as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ()
            if "account" not in columns:
                raise HistoryError(f"{path} has no column 'account', so it is no accounts file.")
            for row in reader:
                account = row["account"]
                names.append(account)
                if "fraud_account" in columns:
                    if row["fraud_account"] not in ("0", "1"):
                        raise HistoryError(
                            f"{path}, line {reader.line_num}: fraud_account is"
                            f" '{str(row['fraud_account'])[:20]}' and should be 0 or 1."
                        )
                    fraud[account] = row["fraud_account"] == "1"
                if row.get("role") == VICTIM:
                    victims.append(account)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise HistoryError(f"{path} cannot be read as a CSV file: {error}.") from error
    return AccountLabels(tuple(names), fraud if "fraud_account" in columns else None, frozenset(victims))


class EventLabels:
    """Labels of a history's payments, handed out in the order of its events.

    Attributes
    ----------
    known
        Whether the history has `is_fraud`.
    scenarios
        Names by code, as far as met; code 0 is none.
    """

    def __init__(self, history: History) -> None:
        have = history.names
        self.known = "is_fraud" in have
        self._columns = [name for name in ("is_fraud", "fraud_scenario") if name in have]
        self._batches: Iterator[pa.RecordBatch] = history.beside(self._columns) if self._columns else iter(())
        self._ready = 0
        self._parts: list[tuple[npt.NDArray[np.bool_], npt.NDArray[np.int32]]] = []
        self.scenarios: list[str] = [""]
        self._codes: dict[str, int] = {"": 0}

    def take(self, count: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int32]]:
        """Of the next payments: whether each is fraud, and the code of its scenario.

        Raises
        ------
        HistoryError
            If the file has fewer rows, or `is_fraud` is neither 0 nor 1.
        """
        if not self._columns:
            return np.zeros(count, np.bool_), np.zeros(count, np.int32)
        while self._ready < count:
            batch = next(self._batches, None)
            if batch is None:
                raise HistoryError(
                    "The history changed while it was read: copy it and run the backtest again."
                )
            self._parts.append(self._read(batch))
            self._ready += batch.num_rows
        fraud = np.concatenate([part[0] for part in self._parts])
        scenario = np.concatenate([part[1] for part in self._parts])
        self._parts = [(fraud[count:], scenario[count:])]
        self._ready -= count
        return fraud[:count], scenario[:count]

    def _read(self, batch: pa.RecordBatch) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int32]]:
        fraud = np.zeros(batch.num_rows, np.bool_)
        if self.known:
            try:
                numbers = batch.column("is_fraud").cast(pa.float64()).to_numpy(zero_copy_only=False)
            except pa.ArrowException as error:
                raise HistoryError(f"Column 'is_fraud' cannot be read as 0 and 1: {error}.") from error
            fraud = numbers == 1.0
            if not (fraud | (numbers == 0.0)).all():
                raise HistoryError("Column 'is_fraud' holds something else than 0 and 1: mend it first.")
        scenario = np.zeros(batch.num_rows, np.int32)
        if "fraud_scenario" in self._columns:
            names = pc.fill_null(batch.column("fraud_scenario").cast(pa.string()), "").to_pylist()
            for i in np.flatnonzero(fraud).tolist():
                name = names[i]
                if name not in self._codes:
                    self._codes[name] = len(self.scenarios)
                    self.scenarios.append(name)
                scenario[i] = self._codes[name]
        return fraud, scenario
