"""Methods of several passes: what a procedure may ask of the network, batch by batch, and its settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam import numbers
from onnxcam.errors import EngineError, MethodError, nearest
from onnxcam.metadata.reserved import MAP, SCORE
from onnxcam.methods.base import Method
from onnxcam.paths import shown
from onnxcam.progress import Progress, quiet
from onnxcam.structure.layout import Grid, Layout

Array: TypeAlias = NDArray[Any]

BATCH_SIZE = "batch_size"
COMMON = {BATCH_SIZE: 8}
"""The settings of every procedure: how many samples a pass holds."""


@dataclass(frozen=True)
class Pictures:
    """A setting that is a set of pictures: the default of its parameter. A procedure is handed their tensors [B, …].

    *source* is a folder, a file, a list of files or uint8 arrays [H, W, 3], or the tensors themselves, an array
    [B, …] of the model's input; None for no pictures, of which the tensors are [0, …].
    """

    source: Any = None

    def __str__(self) -> str:
        return "none" if self.source is None else str(self.source)


@dataclass(frozen=True)
class Passes:
    """One picture and one class, and what may be asked about them. Samples are made as they are used, batch by batch.

    A sample has no batch axis. It is real; where the model takes integers it is rounded, and clipped to their range.
    """

    picture: Array  # the tensor, as the model takes it
    here: Mapping[str, Array]  # what the explanation graph gives for it, [1, …]
    layout: Grid | None  # of [1, *picture]
    layer: Layout | None
    ask: Callable[[Array, Sequence[str]], Mapping[str, Array]]  # (batch, names of outputs)
    ask_head: Callable[[Array], Array]  # activations, [B, …] as the layer has them, to scores [B]
    ask_probability: Callable[[Array], Array]  # batch to probabilities [B]
    batch_size: int = 8
    progress: Progress = quiet

    @property
    def x(self) -> Array:
        """The picture in real numbers, in the tensor's own units."""
        return self.picture.astype(np.float32, copy=False)

    @property
    def value(self) -> Array:
        """What the method's graph emits for the picture."""
        return self.here[MAP][0].astype(np.float32)

    @property
    def score(self) -> float:
        """The score y of the picture."""
        return float(self.here[SCORE][0])

    @property
    def activation(self) -> Array:
        """The layer's activation [K, *space], where the graph emits it as it is."""
        assert self.layer is not None
        return self.layer.view(self.here[MAP])[0].astype(np.float32)

    @property
    def space(self) -> tuple[int, ...]:
        """The lengths of the picture's axes of space."""
        return tuple(self.picture.shape[axis - 1] for axis in self._picture_layout().space)

    @property
    def channels_last(self) -> Array:
        """x as [*space, channels]."""
        return np.moveaxis(self.x, self._picture_layout().channel - 1, -1)

    def masked(self, mask: Array, baseline: float = 0.0) -> Array:
        """Return x where *mask*, [*space] in [0, 1], is 1, and *baseline* where it is 0."""
        weight = np.expand_dims(mask, self._picture_layout().channel - 1)
        return weight * self.x + (1 - weight) * baseline if baseline else weight * self.x

    def blurred(self, share: float) -> Array:
        """Return x blurred by a Gaussian, σ being *share* of each side; edges go on."""
        found = self.x
        for axis in self._picture_layout().space:
            turned = np.moveaxis(found, axis - 1, -1)
            found = np.moveaxis(turned @ _gaussian(turned.shape[-1], share), -1, axis - 1)
        return found

    def values(self, samples: Iterable[Array], total: int) -> Iterator[Array]:
        """Yield for each sample what the method's graph emits."""
        for batch in self._batches(samples, total):
            yield from self.ask(self._fed(batch), [MAP])[MAP].astype(np.float64)

    def scores(self, samples: Iterable[Array], total: int) -> Array:
        """Return the score y of each sample."""
        batches = self._batches(samples, total)
        return _joined((self.ask(self._fed(batch), [SCORE])[SCORE] for batch in batches), total)

    def probabilities(self, samples: Iterable[Array], total: int) -> Array:
        """Return the probability of the class for each sample."""
        return _joined((self.ask_probability(self._fed(batch)) for batch in self._batches(samples, total)), total)

    def head_scores(self, factors: Iterable[Array], total: int) -> Array:
        """Return the score y with the layer's activation multiplied by each of *factors*, [K or 1, *space or 1 …]."""
        return _joined((self.ask_head(self._multiplied(batch)) for batch in self._batches(factors, total)), total)

    def _multiplied(self, factors: Sequence[Array]) -> Array:
        assert self.layer is not None
        activations = np.repeat(self.here[MAP], len(factors), axis=0)
        view = self.layer.view(activations)
        np.multiply(view, np.stack(factors), out=view, casting="unsafe")
        return activations

    def _batches(self, samples: Iterable[Array], total: int) -> Iterator[list[Array]]:
        shown = iter(self.progress(samples, total))
        while batch := list(islice(shown, self.batch_size)):
            yield batch

    def _fed(self, batch: Sequence[Array]) -> Array:
        return as_dtype(np.stack(batch), self.picture.dtype)

    def _picture_layout(self) -> Grid:
        if self.layout is None:
            raise MethodError(
                f"this method covers parts of a picture, but the model's input {self.picture.shape} has no axes of "
                "space; use --method gradient"
            )
        return self.layout


def as_dtype(samples: Array, dtype: np.dtype[Any]) -> Array:
    """Return real *samples* as *dtype*: rounded and clipped to its range where that is one of integers."""
    if np.issubdtype(dtype, np.integer):
        samples = np.clip(np.rint(samples), np.iinfo(dtype).min, np.iinfo(dtype).max)
    return samples.astype(dtype)


def _joined(batches: Iterable[Array], total: int) -> Array:
    found = np.concatenate([batch.astype(np.float64) for batch in batches])
    if len(found) != total:
        raise EngineError(f"the model gave {len(found)} scores for {total} samples; use --method gradcam")
    return found


def _gaussian(length: int, share: float) -> Array:
    """Return the matrix [length, length] of a Gaussian blur with σ = *share* of the length."""
    apart = np.arange(length) - np.arange(-length, 2 * length)[:, None]  # the edges stand for what lies beyond
    weights = np.exp(-((apart / (share * length)) ** 2) / 2)
    folded = np.zeros((length, length))
    np.add.at(folded, np.clip(np.arange(-length, 2 * length), 0, length - 1), weights)
    return (folded / folded.sum(0)).astype(np.float32)


def read_settings(method: Method, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of *method*: *given*, as words or values, else the defaults; MethodError for a wrong one."""
    known = {**method.settings, **({} if method.in_graph else COMMON)}
    for name in given:
        if name not in known:
            there = ", ".join(f"{key}={value}" for key, value in known.items()) or "none"
            raise MethodError(f"{method.id} has no setting {name!r}; there are {there}.{nearest(name, known)}")
    return {name: _read(method, name, given.get(name, default), default) for name, default in known.items()}


def _read(method: Method, name: str, value: Any, default: Any) -> Any:
    kind = type(default)
    if kind is str:
        return _word(method, name, value)
    if kind is Pictures:
        return value if isinstance(value, Pictures) else Pictures(value)
    read, words = numbers.parse_setting(name, value, default, min(default, 1) if kind is int else -numbers.HUGE)
    if read is None:
        raise MethodError(f"the setting {name} of {method.id} is {words}, not {shown(repr(value))}")
    return read


def _word(method: Method, name: str, value: Any) -> str:
    words = method.choices(name)
    if value not in words:
        *most, last = words
        raise MethodError(f"the setting {name} of {method.id} is {', '.join(most)} or {last}, not {value!r}")
    return str(value)
