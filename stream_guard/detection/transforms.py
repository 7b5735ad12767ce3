"""Fixed transforms that take features into [0, 1], where an anomaly detector reads them.

They are fixed and not learned, so that a score means the same in every process, before and after a
restart, and in a backtest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from stream_guard.detection import decision_kernels as kernels
from stream_guard.detection.decision_kernels import Floats, Ints, transform_row
from stream_guard.detection.features import FEATURES, INDEX
from stream_guard.detection.kernels import kernel


class Transform(StrEnum):
    """How a feature's value v becomes a number in [0, 1]; results beyond are clipped."""

    LINEAR = "linear"
    """(v - low) / (high - low): hours, shares, 0 or 1."""
    LOG = "log"
    """log(1 + v) / log(1 + high): amounts, counts, seconds, whose interesting differences are factors."""
    SHARE = "share"
    """v / (v + w), w being the feature `against`: which part of the flow goes this way."""
    LOG_RATIO = "log_ratio"
    """1/2 + log(v / w) / (2 log(high)): v against a habit w; equal is 1/2, `high` times as much is 1."""


_CODE = {
    Transform.LINEAR: kernels.LINEAR,
    Transform.LOG: kernels.LOG,
    Transform.SHARE: kernels.SHARE,
    Transform.LOG_RATIO: kernels.LOG_RATIO,
}


class Input(BaseModel):
    """One input of a detector: a feature, how it is transformed, what stands for a missing value.

    Examples
    --------
    >>> Input(feature="txn.amount", transform="log", high=1e6).name
    'txn.amount'
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    feature: str
    """A name of the catalogue; numbers and yes/no only."""
    transform: Transform
    against: str | None = None
    """Second feature of `share` and `log_ratio`."""
    low: float = 0.0
    """Value that becomes 0 (`linear`)."""
    high: float = 1.0
    """Value that becomes 1 (`linear`, `log`), or ratio that does (`log_ratio`)."""
    missing: float = Field(default=0.5, ge=0.0, le=1.0)
    """What stands for a missing value, after the transform. The middle is neutral, far from both ends."""

    @property
    def name(self) -> str:
        """Name of the input: the feature's, with the one it is set against."""
        return self.feature if self.against is None else f"{self.feature}:{self.against}"

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in (self.feature, self.against):
            if name is None:
                continue
            if name not in INDEX:
                raise ValueError(f"there is no feature {name}; the catalogue of features lists all names")
            if FEATURES[INDEX[name]].kind == "text":
                raise ValueError(f"{name} is a text; a detector reads numbers and yes/no only")
        if (self.against is not None) != (self.transform in (Transform.SHARE, Transform.LOG_RATIO)):
            raise ValueError(
                f"{self.feature}: share and log_ratio need `against`, other transforms have none"
            )
        if self.transform is Transform.LINEAR and not self.high > self.low:
            raise ValueError(f"{self.feature}: linear needs high above low, not {self.low} to {self.high}")
        if self.transform is Transform.LOG and not self.high > 0:
            raise ValueError(f"{self.feature}: log needs high above 0, not {self.high}")
        if self.transform is Transform.LOG_RATIO and not self.high > 1:
            raise ValueError(f"{self.feature}: log_ratio needs high above 1, not {self.high}")
        return self


class Plan(NamedTuple):
    """Inputs as the kernel reads them."""

    inputs: Ints
    """i4[k, 3]: kind, column, column of `against`."""
    bounds: Floats
    """f8[k, 3]: low, scale, value that stands for a missing one."""


def plan(inputs: Sequence[Input]) -> Plan:
    """Compile inputs to arrays."""
    codes = np.zeros((len(inputs), 3), np.int32)
    bounds = np.zeros((len(inputs), 3))
    for i, item in enumerate(inputs):
        codes[i] = (_CODE[item.transform], INDEX[item.feature], INDEX[item.against or item.feature])
        scale = 1.0
        if item.transform is Transform.LINEAR:
            scale = 1.0 / (item.high - item.low)
        elif item.transform is Transform.LOG:
            scale = 1.0 / math.log1p(item.high)
        elif item.transform is Transform.LOG_RATIO:
            scale = 0.5 / math.log(item.high)
        bounds[i] = (item.low, scale, item.missing)
    return Plan(codes, bounds)


def transform(matrix: Floats, by: Plan) -> Floats:
    """Inputs f8[n, k] in [0, 1] of the rows of a feature matrix f8[n, N]."""
    out = np.empty((len(matrix), len(by.inputs)))
    _transform(matrix, by.inputs, by.bounds, out)
    return out


@kernel
def _transform(matrix: Floats, inputs: Ints, bounds: Floats, out: Floats) -> None:
    for i in range(matrix.shape[0]):
        transform_row(matrix[i], inputs, bounds, out[i])
