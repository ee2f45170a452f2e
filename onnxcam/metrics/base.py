"""What a metric is (id, which way is better, settings), and what it looks at: one picture, one class, one map."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from onnxcam import numbers
from onnxcam.errors import MetricError
from onnxcam.explainer.explainer import Explainer
from onnxcam.media import heatmap
from onnxcam.metrics.truth import Region

Array: TypeAlias = NDArray[Any]
Ask: TypeAlias = Callable[[Iterable[Array]], Array]
"""What the network says [M] of M versions [C, h, w] of a picture, which are made as they are used."""


@dataclass(frozen=True)
class Curve:
    """What becomes of the class as more and more pixels come or go; *value* is what the metric makes of it."""

    share: Array  # of the pixels that came or went, from 0 to 1
    value: float
    probability: Array
    accuracy: Array | None = None  # whether the class is still the one that the model puts first


@dataclass(frozen=True)
class Network:
    """What the network says of versions [C, h, w] of one picture about one class, batch by batch.

    A version is real. Where the model takes integers it is rounded, and clipped to their range.
    """

    explainer: Explainer
    target: int
    channel: int  # the axis of channels of the model's input, without the batch
    dtype: np.dtype
    batch_size: int = 16

    def probabilities(self, samples: Iterable[Array]) -> Array:
        """Return the probability of the class for each of *samples*."""
        return _joined(self.explainer.probabilities(batch, self.target) for batch in self._batches(samples))

    def scores(self, samples: Iterable[Array]) -> Array:
        """Return the score of the class, before softmax or sigmoid, for each of *samples*."""
        return _joined(self.explainer.scores(batch, self.target) for batch in self._batches(samples))

    def answers(self, samples: Iterable[Array]) -> tuple[Array, Array]:
        """Return the probability of the class for each of *samples*, and whether the model puts it first."""
        pairs = [
            (self.explainer.probabilities(batch, self.target), self.explainer.classes(batch) == self.target)
            for batch in self._batches(samples)
        ]
        return _joined(pair[0] for pair in pairs), _joined(pair[1] for pair in pairs)

    def maps(self, maker: Callable[[Array, Array], Array], samples: Iterable[Array]) -> Array:
        """Return the raw map that *maker* makes of each of *samples*."""
        return _joined(maker(batch, np.full(len(batch), self.target)) for batch in self._batches(samples))

    def _batches(self, samples: Iterable[Array]) -> Iterator[Array]:
        rest = iter(samples)
        while batch := list(islice(rest, self.batch_size)):
            tensor = np.moveaxis(np.stack(batch), 1, self.channel + 1)
            if np.issubdtype(self.dtype, np.integer):
                tensor = np.clip(np.rint(tensor), np.iinfo(self.dtype).min, np.iinfo(self.dtype).max)
            yield np.ascontiguousarray(tensor.astype(self.dtype))


@dataclass(frozen=True)
class Case:
    """One picture, one class and the map of it: what a metric looks at."""

    x: Array  # the tensor in real numbers, [C, h, w]
    heat: Array  # the map at the tensor's size [h, w]; signed, but for maps of the input's shape their magnitude
    attribution: Array  # the map at the tensor's size, [C, h, w] or [1, h, w], signed
    raw: Array  # the map as the method gives it
    sensitivity: bool  # whether the map is a gradient: what a change of x does, not what x did
    shown: Array  # the map at the picture's size [H, W], in [0, 1]
    unit: Array  # what black and white differ by in the tensor, [C, 1, 1]
    network: Network
    maker: Callable[[Array, Array], Array]  # tensors [N, …] and classes [N] to raw maps
    truth: Region | None = None
    seed: int = 0

    @cached_property
    def probability(self) -> float:
        """The probability of the class for the picture."""
        return float(self.network.probabilities([self.x])[0])

    @cached_property
    def explained(self) -> float:
        """The probability of the class for the explanation map alone: the picture times the map in [0, 1]."""
        return float(self.network.probabilities([self.x * heatmap.normalize(self.heat)])[0])

    def remade(self, samples: Iterable[Array]) -> Array:
        """Return the raw maps of *samples*, versions of the picture."""
        return self.network.maps(self.maker, samples)


Measure: TypeAlias = Callable[..., "float | Curve"]
F = TypeVar("F", bound=Measure)


@dataclass(frozen=True)
class Metric:
    """A way to measure a map: a function over arrays, and which arrays of a case it takes."""

    id: str
    group: str
    higher: bool  # whether higher is better
    summary: str
    function: Measure
    takes: Callable[[Case], tuple[Any, ...]]
    needs_truth: bool = False
    seeded: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """The settings by name, with their defaults: the function's keyword arguments, but the seed."""
        return _settings(self.function)

    def measure(self, case: Case, settings: Mapping[str, Any]) -> float | Curve:
        """Return the metric of *case*."""
        seed = {"seed": case.seed} if self.seeded else {}
        return self.function(*self.takes(case), **settings, **seed)


METRICS: dict[str, Metric] = {}
"""Every metric of one map by its id. The command line, the documentation and the tests read it."""


def metric(
    id: str, *, higher: bool, takes: Callable[[Case], tuple[Any, ...]], needs_truth: bool = False
) -> Callable[[F], F]:
    """Enter the function below into the registry as metric *id*; its group is the file that it is in."""

    def enter(function: F) -> F:
        group = function.__module__.rpartition(".")[2]
        seeded = "seed" in inspect.signature(function).parameters
        METRICS[id] = Metric(id, group, higher, summary(function), function, takes, needs_truth, seeded)
        return function

    return enter


def summary(function: Callable[..., Any]) -> str:
    """Return the first line of the docstring of *function*."""
    return (function.__doc__ or "").strip().splitlines()[0]


def read_settings(id: str, function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of *function*: *given*, words or values, else the defaults; MetricError for a wrong one."""
    return numbers.read_settings(id, _settings(function), given, _read_setting, MetricError)


def _settings(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    keywords = [parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    return {parameter.name: parameter.default for parameter in keywords if parameter.name != "seed"}


def _read_setting(name: str, value: Any, default: Any) -> tuple[float | None, str]:
    return numbers.setting(name, value, default, 1 if isinstance(default, int) and name != "tolerance" else 0)


def order(heat: Array, seed: int) -> Array:
    """Return the pixels of *heat*, as places in the flat map, from the largest value to the least.

    Where pixels are equal, as all are that a ReLU cut off, chance decides.
    """
    chance = np.random.default_rng(seed).random(heat.size)
    return np.lexsort((chance, -heat.ravel().astype(np.float64)))


def _joined(batches: Iterable[Array]) -> Array:
    return np.concatenate([np.asarray(batch, np.float64) for batch in batches])
