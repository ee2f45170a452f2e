"""Metrics: their registry, their settings, and the case (image, class, map) that they measure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from onnxcam import numbers
from onnxcam.errors import MetricError, call_registered
from onnxcam.explainer.explainer import Explainer
from onnxcam.media import heatmap
from onnxcam.methods.base import docstring_summary
from onnxcam.metrics.truth import Region
from onnxcam.targets import parse

__all__ = [
    "METRICS",
    "Array",
    "Ask",
    "Case",
    "ClassPredictor",
    "CosinePredictor",
    "Curve",
    "Measure",
    "Metric",
    "metric",
    "order",
    "read_settings",
]

Array: TypeAlias = NDArray[Any]
Ask: TypeAlias = Callable[[Iterable[Array]], Array]
"""Function from an iterable of M input tensors [C, h, w] to the model's answers [M]."""


@dataclass(frozen=True)
class Curve:
    """Answer of the model as pixels are inserted or removed step by step; *value* is the metric."""

    share: Array  # fraction of changed pixels at each step, 0 to 1
    value: float
    probability: Array
    accuracy: Array | None = None  # whether the class is still the top class


@dataclass(frozen=True)
class ClassPredictor:
    """Scores of one class for input tensors [C, h, w], computed in batches.

    Tensors are floats. For a model with integer input they are rounded and clipped to the range of its dtype.
    """

    explainer: Explainer
    target: int
    channel: int  # channel axis of the model's input, without the batch axis
    dtype: np.dtype
    batch_size: int = 16

    @property
    def asked(self) -> int | None:
        """What the explainer is asked for."""
        return self.target

    def probabilities(self, samples: Iterable[Array]) -> Array:
        """Return the probability of the class for each sample, float64 [M]."""
        return _joined(self.explainer.probabilities(batch, self.target) for batch in self._batches(samples))

    def scores(self, samples: Iterable[Array]) -> Array:
        """Return the score of the class before softmax or sigmoid for each sample, float64 [M]."""
        return _joined(self.explainer.scores(batch, self.asked) for batch in self._batches(samples))

    def answers(self, samples: Iterable[Array]) -> tuple[Array, Array]:
        """Return the probability of the class for each sample, and whether it is the top class, both [M]."""
        pairs = [
            (self.explainer.probabilities(batch, self.target), self.explainer.classes(batch, "top") == self.target)
            for batch in self._batches(samples)
        ]
        return _joined(pair[0] for pair in pairs), _joined(pair[1] for pair in pairs)

    def maps(self, maker: Callable[[Array, Array], Array], samples: Iterable[Array]) -> Array:
        """Return the raw map by *maker* of each sample."""
        return _joined(maker(batch, np.full(len(batch), self.target)) for batch in self._batches(samples))

    def _batches(self, samples: Iterable[Array]) -> Iterator[Array]:
        rest = iter(samples)
        while batch := list(islice(rest, self.batch_size)):
            tensor = np.moveaxis(np.stack(batch), 1, self.channel + 1)
            if np.issubdtype(self.dtype, np.integer):
                tensor = np.clip(np.rint(tensor), np.iinfo(self.dtype).min, np.iinfo(self.dtype).max)
            yield np.ascontiguousarray(tensor.astype(self.dtype))


@dataclass(frozen=True)
class CosinePredictor(ClassPredictor):
    """Cosines of embeddings with the default target of the explainer, a text, image or vector; *target* is 0.

    In place of a probability stands the cosine in the range from 0 to 1: (1 + cos) / 2, and (2 + cos − cos') / 4 of a
    difference. There is no top class.
    """

    @property
    def asked(self) -> None:
        """The default target."""
        return

    def probabilities(self, samples: Iterable[Array]) -> Array:
        """Return the cosine of each sample in the range from 0 to 1, float64 [M]."""
        most = 1 if getattr(parse(self.explainer.target), "unlike", None) is None else 2
        return (most + self.scores(samples)) / (2 * most)

    def answers(self, samples: Iterable[Array]) -> tuple[Array, Array]:
        """Return `probabilities`, and NaN in place of whether it is the top class, both [M]."""
        found = self.probabilities(samples)
        return found, np.full(len(found), np.nan)


@dataclass(frozen=True)
class Case:
    """One image, one class and its map: the input of a metric."""

    x: Array  # input tensor, float32 [C, h, w]
    heat: Array  # map at the tensor's size [h, w]; signed, except that maps of the input's shape give their magnitude
    attribution: Array  # signed map at the tensor's size, [C, h, w] or [1, h, w]
    raw: Array  # raw map of the method
    sensitivity: bool  # whether the map is a gradient (effect of a change of x), not an attribution (effect of x)
    shown: Array  # map at the image's size [H, W], in [0, 1]
    unit: Array  # difference of white and black in the tensor, [C, 1, 1]
    network: ClassPredictor
    maker: Callable[[Array, Array], Array]  # function from tensors [N, …] and classes [N] to raw maps
    truth: Region | None = None
    seed: int = 0

    @cached_property
    def probability(self) -> float:
        """Probability of the class for the image."""
        return float(self.network.probabilities([self.x])[0])

    @cached_property
    def explained(self) -> float:
        """Probability of the class for the image multiplied by its map, normalised to [0, 1]."""
        return float(self.network.probabilities([self.x * heatmap.normalize(self.heat)])[0])

    def remade(self, samples: Iterable[Array]) -> Array:
        """Return the raw maps of *samples*, perturbed copies of the image."""
        return self.network.maps(self.maker, samples)


Measure: TypeAlias = Callable[..., "float | Curve"]
F = TypeVar("F", bound=Measure)


@dataclass(frozen=True)
class Metric:
    """Metric of one map: a function over arrays, and a selector of its arrays from a case."""

    id: str
    group: str
    higher: bool  # whether a higher value is better
    summary: str
    function: Measure
    takes: Callable[[Case], tuple[Any, ...]]
    needs_truth: bool = False
    seeded: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """Settings and their defaults: the keyword arguments of the function except the seed."""
        return _settings(self.function)

    def measure(self, case: Case, settings: Mapping[str, Any]) -> float | Curve:
        """Measure *case*; MetricError if the function returns no number."""
        seed = {"seed": case.seed} if self.seeded else {}
        found = call_registered(f"the metric {self.id}", self.function, *self.takes(case), **settings, **seed)
        if not isinstance(found, Curve) and (found is None or np.ndim(found) > 0):
            shown = f"an array {list(found.shape)}" if isinstance(found, np.ndarray) else type(found).__name__
            raise MetricError(f"the metric {self.id} returned {shown}; it must return a number or a Curve")
        return found if isinstance(found, Curve) else float(found)


METRICS: dict[str, Metric] = {}
"""Registry of metrics by id. The command line, the documentation and the tests use it."""


def metric(
    id: str, *, higher: bool, takes: Callable[[Case], tuple[Any, ...]], needs_truth: bool = False
) -> Callable[[F], F]:
    """Register a function as metric *id*; its group is the name of its file."""

    def enter(function: F) -> F:
        group = Path(inspect.getfile(function)).stem
        seeded = "seed" in inspect.signature(function).parameters
        METRICS[id] = Metric(id, group, higher, docstring_summary(function), function, takes, needs_truth, seeded)
        return function

    return enter


def read_settings(id: str, function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of *function*: *given* values (or their text), otherwise the defaults.

    Raises:
        MetricError: a setting is unknown or out of range.
    """
    return numbers.read_settings(id, _settings(function), given, _read_setting, MetricError)


def _settings(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    keywords = [parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    return {parameter.name: parameter.default for parameter in keywords if parameter.name != "seed"}


def _read_setting(name: str, value: Any, default: Any) -> tuple[float | None, str]:
    low = 1 if isinstance(default, int) and name != "tolerance" else 0
    return numbers.parse_setting(name, value, default, low)


def order(heat: Array, seed: int) -> Array:
    """Return the indices of the pixels of *heat*, flattened, in descending order.

    Ties, such as all pixels that a ReLU set to 0, are in random order.
    """
    chance = np.random.default_rng(seed).random(heat.size)
    return np.lexsort((chance, -heat.ravel().astype(np.float64)))


def _joined(batches: Iterable[Array]) -> Array:
    return np.concatenate([np.asarray(batch, np.float64) for batch in batches])
