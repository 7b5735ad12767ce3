"""The decisions of a backtest as a Parquet file: one row for each judged payment, in order."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from stream_guard.detection.batches import Payments
from stream_guard.detection.in_step import Step

SCHEMA = pa.schema(
    [
        ("decision_id", pa.string()),
        ("event_id", pa.string()),
        ("ts", pa.timestamp("ms", "UTC")),
        ("account", pa.string()),
        ("counterparty", pa.string()),
        ("amount", pa.float64()),
        ("currency", pa.string()),
        ("action", pa.string()),
        ("score", pa.float64()),
        ("payer_score", pa.float64()),
        ("payee_score", pa.float64()),
        ("reasons", pa.string()),  # JSON, as in the decision message
        ("anomaly", pa.string()),  # JSON
        ("repeat", pa.bool_()),
        ("pack", pa.string()),
    ]
)

_AS_IS = ("decision_id", "event_id", "ts", "account", "counterparty", "amount", "currency", "action", "score")


class DecisionsFile:
    """Writes the file while the backtest runs; a context manager.

    Raises
    ------
    OSError
        The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._writer = pq.ParquetWriter(path, SCHEMA, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def add(self, batch: Payments, step: Step) -> None:
        """Write the decisions of a batch; the context must emit all of them."""
        rows: list[dict[str, Any]] = []
        for said in step.said:
            if said.decision is None:
                continue
            message = orjson.loads(said.decision[1])
            row = {name: message[name] for name in _AS_IS}
            repeat = message["repeat"]
            row["payer_score"] = None if repeat else float(step.verdicts.payer_score[said.at])
            row["payee_score"] = None if repeat else float(step.verdicts.payee_score[said.at])
            row["reasons"] = orjson.dumps(message["reasons"]).decode()
            row["anomaly"] = orjson.dumps(message["anomaly"]).decode()
            row["repeat"] = repeat
            row["pack"] = message["pack"]
            rows.append(row)
        if rows:
            self._writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
