"""River's own anomaly detectors, by name: any model River has, at the price of Python an event."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Mapping
from typing import Any

PREFIX = "river.anomaly."


class RiverDetector:
    """An unsupervised detector of ``river.anomaly`` behind the interface of our own.

    Its inner state cannot be stored: River offers nothing but pickle, which can run code when it is read.
    So after a restart it starts anew, which the worker reports.

    Parameters
    ----------
    name
        ``river.anomaly.`` and the name of a class that this module lists; nothing else is ever imported.
    params
        Parameters of its constructor.
    seed
        Given to a constructor that takes a `seed`, unless `params` has one.

    Raises
    ------
    ValueError
        There is no such detector, it needs labels or another model, or it refuses the parameters.

    Examples
    --------
    >>> detector = RiverDetector("river.anomaly.HalfSpaceTrees", {"window_size": 2, "height": 2}, seed=7)
    >>> for x in (0.1, 0.2):
    ...     detector.learn_one({"x": x})
    >>> detector.learned, detector.score_one({"x": 0.1}) < detector.score_one({"x": 0.9})
    (2, True)
    """

    def __init__(self, name: str, params: Mapping[str, Any], seed: int) -> None:
        cls = _find(name)
        accepted = inspect.signature(cls).parameters
        unknown = sorted(set(params) - set(accepted))
        if unknown:
            raise ValueError(f"{name} has no parameter {', '.join(unknown)}; it has {', '.join(accepted)}")
        arguments = {"seed": seed, **params} if "seed" in accepted else dict(params)
        try:
            self._model = cls(**arguments)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} refuses its parameters: {error}") from error
        self.name = name
        self._learned = 0

    @property
    def learned(self) -> int:
        """Number of vectors learned so far."""
        return self._learned

    def score_one(self, x: Mapping[str, float]) -> float:
        """Score of one vector, the higher the stranger; NaN where the detector gives no finite number."""
        score = float(self._model.score_one(dict(x)))
        return score if math.isfinite(score) else math.nan

    def learn_one(self, x: Mapping[str, float]) -> None:
        """Learn one vector."""
        self._model.learn_one(dict(x))
        self._learned += 1


def _find(name: str) -> Any:
    if not name.startswith(PREFIX):
        raise ValueError(f"there is no detector {name!r}; write half-space-trees or {PREFIX}NAME")
    module = importlib.import_module(PREFIX.rstrip("."))
    base = importlib.import_module("river.base")
    short = name.removeprefix(PREFIX)
    # Supervised detectors and filters around other detectors have bases of their own.
    classes = {each: getattr(module, each) for each in sorted(module.__all__)}
    usable = [each for each, cls in classes.items() if issubclass(cls, base.AnomalyDetector)]
    if short not in usable:
        raise ValueError(f"{name} cannot be used; river.anomaly offers {', '.join(usable)}")
    return classes[short]
