"""The anomaly model of a partition: one detector a side, its running quantile, its stored state.

What a score becomes, and when a detector learns, is decided in :mod:`stream_guard.detection.decide`.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from stream_guard.detection.anomaly_settings import (
    HALF_SPACE_TREES,
    AnomalyError,
    AnomalySettings,
    load_anomaly,
)
from stream_guard.detection.decision_kernels import Counter, Floats, SideArrays
from stream_guard.detection.features import INDEX
from stream_guard.detection.half_space_trees import HalfSpaceTrees
from stream_guard.detection.quantile import RunningQuantile
from stream_guard.detection.transforms import Plan, plan
from stream_guard.detection.vocabulary import Side

__all__ = ["AnomalyError", "AnomalySettings", "Detector", "Detectors", "Resumed", "SideModel", "load_anomaly"]

FORMAT: Final = 1
"""Layout of a stored state."""
MAX_HEADER: Final = 1000
"""Bytes of a stored state's header; ours has 70, and damaged JSON must not be parsed at any length."""


class Detector(Protocol):
    """What a side's model asks of a detector: River's interface, and how much it has learned."""

    @property
    def learned(self) -> int:
        """Number of vectors learned so far."""
        ...

    def score_one(self, x: Mapping[str, float]) -> float:
        """Score of one vector, the higher the stranger; NaN for none."""
        ...

    def learn_one(self, x: Mapping[str, float]) -> None:
        """Learn one vector."""
        ...


class Resumed(NamedTuple):
    """What :meth:`Detectors.load` did; a worker reports a start anew loudly."""

    resumed: bool
    """The state was taken over. False: both detectors started anew, and warm up again."""
    reason: str
    """A sentence for people."""


class SideModel:
    """Detector and running quantile of one side.

    Parameters
    ----------
    settings
        Of the anomaly model.
    side
        Whose features are read.
    """

    def __init__(self, settings: AnomalySettings, side: Side) -> None:
        self.settings = settings
        self.side = side
        inputs = settings.inputs(side)
        self.names: tuple[str, ...] = tuple(item.name for item in inputs)
        self.plan: Plan = plan(inputs)
        self.quantile = RunningQuantile(settings.quantile)
        self.limits: Counter = np.array([settings.window, settings.warm_up], np.int64)
        self.trees: HalfSpaceTrees | None = None
        self.detector: Detector
        if settings.detector == HALF_SPACE_TREES:
            self.trees = HalfSpaceTrees(
                settings.trees,
                settings.height,
                settings.window,
                seed=settings.side_seed(side),
                features=self.names,
            )
            self.detector = self.trees
        else:
            self.detector = settings.new_river_detector(side)

    @property
    def warming_up(self) -> bool:
        """Whether a score cannot be a reason yet."""
        return self.detector.learned < self.settings.warm_up

    def arrays(self) -> SideArrays | None:
        """State and parameters as the fused kernel takes them; None for a detector of River."""
        t = self.trees
        if t is None:
            return None
        return (
            self.plan.inputs,
            self.plan.bounds,
            t.feature,
            t.threshold,
            t.mass,
            t.reference,
            t.leaf_score,
            t.count,
            self.quantile.state,
            self.limits,
        )

    def explain(self, row: Floats, score: float, quantile: float) -> tuple[str, dict[str, float | None]]:
        """Reason in words and figures for a score above the running quantile.

        Parameters
        ----------
        row
            f8[N], the payment's row of the feature matrix.
        score, quantile
            Of this side, from the verdict.

        Returns
        -------
        tuple
            Text and evidence: the score, the quantile, and every feature the detector read (None: missing).
        """
        evidence: dict[str, float | None] = {"anomaly.score": score, "anomaly.quantile": quantile}
        for item in self.settings.inputs(self.side):
            for name in (item.feature, item.against):
                if name is not None:
                    value = float(row[INDEX[name]])
                    evidence[name] = None if math.isnan(value) else value
        share = 100.0 * self.settings.quantile
        text = (
            f"unlike the {self.side}s seen before: scores {score:.4f}, {share:g} % score below {quantile:.4f}"
        )
        return text, evidence


class Detectors:
    """The two detectors of a partition.

    Parameters
    ----------
    settings
        Of the anomaly model.

    Examples
    --------
    >>> settings = load_anomaly('''
    ... version: 1
    ... payer: [{feature: txn.amount, transform: log, high: 1_000_000}]
    ... payee: [{feature: txn.amount, transform: log, high: 1_000_000}]
    ... ''', "anomaly.yaml")
    >>> first, second = Detectors(settings), Detectors(settings)
    >>> second.load(first.dump())
    Resumed(resumed=True, reason='resumed after 0 payers and 0 payees')
    >>> second.load(b"something else").resumed
    False
    """

    def __init__(self, settings: AnomalySettings) -> None:
        self.settings = settings
        self._start()

    def _start(self) -> None:
        self.payer = SideModel(self.settings, Side.PAYER)
        self.payee = SideModel(self.settings, Side.PAYEE)

    def side(self, side: Side) -> SideModel:
        """Model of one side."""
        return self.payer if side is Side.PAYER else self.payee

    def status(self) -> list[tuple[str, int, bool, float]]:
        """Of each side: name, payments learned, whether it warms up, running quantile (NaN: none yet)."""
        out = []
        for model in (self.payer, self.payee):
            quantile = model.quantile.get()
            value = math.nan if quantile is None else quantile
            out.append((str(model.side), model.detector.learned, model.warming_up, value))
        return out

    def dump(self) -> bytes | None:
        """State to be stored, 5-25 kB; None for a detector of River, whose state cannot be.

        A line of JSON (format, schema hash, length), then the raw little-endian arrays, deflated: for payer
        and payee the count, the running quantile, the leaf masses of this window and of the last full one.
        """
        arrays = self._stored()
        if arrays is None:
            return None
        raw = b"".join(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes() for array in arrays)
        header = {"format": FORMAT, "schema": self.settings.schema_hash(), "length": len(raw)}
        return json.dumps(header).encode() + b"\n" + zlib.compress(raw, 1)

    def _stored(self) -> list[Any] | None:
        """Arrays of the state, in the order they are stored; None for a detector of River."""
        arrays: list[Any] = []
        for model in (self.payer, self.payee):
            t = model.trees
            if t is None:
                return None
            arrays += [t.count, model.quantile.state, t.mass, t.reference]
        return arrays

    def load(self, data: bytes | None) -> Resumed:
        """Take over a stored state, or start anew.

        Never raises and never keeps a half: what does not fit these settings, or is damaged, is not used.

        Parameters
        ----------
        data
            What :meth:`dump` returned; None where nothing was stored.
        """
        self._start()
        arrays = self._stored()
        if arrays is None:
            return Resumed(
                False, f"{self.settings.detector} cannot be stored: it starts anew and warms up again"
            )
        if data is None:
            return Resumed(False, "no state of the anomaly model was stored; it starts anew and warms up")
        try:
            self._restore(data, arrays)
        except (ValueError, zlib.error) as error:
            self._start()
            return Resumed(False, f"the anomaly model starts anew and warms up again: {error}")
        counts = self.payer.detector.learned, self.payee.detector.learned
        return Resumed(True, f"resumed after {counts[0]:,} payers and {counts[1]:,} payees")

    def _restore(self, data: bytes, arrays: list[Any]) -> None:
        line, _, body = data.partition(b"\n")
        header = json.loads(line) if len(line) <= MAX_HEADER else None
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise ValueError("its stored state has another format")
        if header.get("schema") != self.settings.schema_hash():
            raise ValueError("its inputs, transforms or parameters have changed since the state was stored")
        length = sum(array.nbytes for array in arrays)
        inflate = zlib.decompressobj()
        raw = inflate.decompress(body, length + 1)
        if len(raw) != length or header.get("length") != length:
            raise ValueError(f"its stored state has {len(raw)} bytes where {length} belong")
        at = 0
        for array in arrays:
            stored = np.frombuffer(raw, array.dtype.newbyteorder("<"), array.size, at)
            array[...] = stored.reshape(array.shape)
            at += array.nbytes
        for model in (self.payer, self.payee):
            _check(model)

    def undo(self) -> tuple[Floats, ...] | None:
        """Copy of the state, for :meth:`rollback`; None for a detector of River."""
        arrays = self._stored()
        return None if arrays is None else tuple(array.copy() for array in arrays)

    def rollback(self, token: tuple[Floats, ...] | None) -> None:
        """Return to the state at :meth:`undo`.

        A detector of River cannot: what it learned from a batch that failed stays, and is learned once more.
        """
        arrays = self._stored()
        if token is None or arrays is None:
            return
        for array, saved in zip(arrays, token, strict=True):
            array[...] = saved
        for model in (self.payer, self.payee):
            if model.trees is not None:
                model.trees.refresh()


def _check(model: SideModel) -> None:
    """Recompute what follows from a restored state; refuse figures that cannot be."""
    t = model.trees
    if t is None:
        return
    full, rest = divmod(t.learned, t.window_size)
    quantile = model.quantile.state
    if (
        t.learned < 0
        or (t.mass.sum(axis=1) != rest).any()
        or (t.reference.sum(axis=1) != (t.window_size if full else 0)).any()
        or not np.isfinite(quantile).all()
        or quantile[1] != model.quantile.q
        or quantile[0] != max(0, t.learned - t.window_size)
    ):
        raise ValueError("its stored state is damaged")
    t.refresh()
