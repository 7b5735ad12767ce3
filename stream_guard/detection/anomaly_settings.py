"""Settings of the anomaly model: which detector, on which inputs, from when a score is a reason."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Final, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)

from stream_guard.detection.documents import DocumentError, parse_document
from stream_guard.detection.features import FEATURES, INDEX
from stream_guard.detection.half_space_trees import MAX_FEATURES, MAX_HEIGHT, MAX_WINDOW
from stream_guard.detection.river_detectors import RiverDetector
from stream_guard.detection.transforms import Input
from stream_guard.detection.vocabulary import Side

HALF_SPACE_TREES: Final = "half-space-trees"
"""Name of our own detector; any other name is one of River's."""

Inputs = Annotated[tuple[Input, ...], Field(min_length=1, max_length=MAX_FEATURES)]


class AnomalyError(DocumentError):
    """The settings of the anomaly model are refused."""


class AnomalySettings(BaseModel):
    """Content of ``models/anomaly.yaml``.

    The same settings hold for both sides of every partition, each of which has a detector of its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: int = Field(ge=1)
    """Version that reasons named ``anomaly`` carry; raise it with every change."""
    detector: str = HALF_SPACE_TREES
    """``half-space-trees``, or an unsupervised detector of River such as ``river.anomaly.LODA``."""
    params: dict[str, StrictBool | StrictInt | StrictFloat | StrictStr | None] = Field(default_factory=dict)
    """Constructor parameters of a detector of River."""
    trees: int = Field(default=25, ge=1, le=1000)
    height: int = Field(default=8, ge=1, le=MAX_HEIGHT)
    window: int = Field(default=250, ge=1, le=MAX_WINDOW)
    """Payments a window of the trees; that many are learned before scores enter the running quantile."""
    quantile: float = Field(default=0.995, gt=0.0, lt=1.0)
    """A score is a reason above this running quantile of the scores so far."""
    warm_up: int = Field(default=1000, ge=1)
    """Payments a side has to have learned before a score can be a reason."""
    seed: int = Field(default=0, ge=0)
    payer: Inputs
    payee: Inputs

    def inputs(self, side: Side) -> tuple[Input, ...]:
        """Inputs of one side's detector."""
        return self.payer if side is Side.PAYER else self.payee

    def side_seed(self, side: Side) -> int:
        """Seed of one side's detector; the two differ, and all partitions agree."""
        return int.from_bytes(hashlib.sha256(f"{self.seed}:{side}".encode()).digest()[:4], "big")

    def new_river_detector(self, side: Side) -> RiverDetector:
        """A fresh detector of River for one side."""
        return RiverDetector(self.detector, self.params, self.side_seed(side))

    def schema_hash(self) -> str:
        """What a stored state must agree with: detector, parameters, seed, inputs and their transforms."""
        content = self.model_dump(mode="json", exclude={"version", "warm_up"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for side in Side:
            inputs = self.inputs(side)
            names = [item.name for item in inputs]
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"{side}: the input {name} is given twice")
            for item in inputs:
                _check_side(item, side)
        if self.warm_up < self.window:
            raise ValueError(
                f"warm_up, {self.warm_up}, is below window, {self.window}: there are no scores before"
            )
        if self.detector == HALF_SPACE_TREES:
            if self.params:
                raise ValueError("params belong to a detector of River; here trees, height and window count")
        else:
            self.new_river_detector(Side.PAYER)
        return self


def _check_side(item: Input, side: Side) -> None:
    for name in (item.feature, item.against):
        if name is None:
            continue
        feature = FEATURES[INDEX[name]]
        if feature.hop == 0:
            raise ValueError(f"{side}: {name} is a risk signal, which counts through the rules that name it")
        if feature.side not in (side.value, "pair", "txn"):
            raise ValueError(f"{side}: {name} is about the other side; an anomaly belongs to one account")


def load_anomaly(text: str, source: str) -> AnomalySettings:
    """Settings of a YAML text.

    Parameters
    ----------
    text, source
        Content and name of ``models/anomaly.yaml``.

    Raises
    ------
    AnomalyError
        A field is missing, unknown or out of its bounds, a feature is not in the catalogue, or there is no
        such detector; every complaint with its place.
    """
    try:
        return parse_document(text, source, AnomalySettings)
    except DocumentError as error:
        raise AnomalyError(str(error)) from error
