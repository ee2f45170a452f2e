"""What a procedure may ask of the model about one image: scores, probabilities and maps of samples, in batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import EngineError, MethodError
from onnxcam.metadata.reserved import MAP, SCORE
from onnxcam.progress import Progress, quiet
from onnxcam.structure.layout import GridLayout, Layout

__all__ = ["Array", "ModelQueries", "as_dtype"]

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class ModelQueries(ABC):
    """The model, asked about one image and one target. Samples are made as they are used, batch by batch.

    A sample has the shape of the image's tensor, without the batch axis, in real numbers; where the model takes
    integers it is rounded, and clipped to their range. Subclasses run the model.

    Attributes:
        picture: The image's tensor in the model's dtype.
        outputs: The outputs of the explanation graph for it by name, [1, …] each.
        layout: The layout of [1, *picture]; None where it is no image.
        layer_layout: The layout of the layer; None for methods that use none.
        batch_size: The number of samples in a pass.
        progress: Wraps the samples and their number.
    """

    picture: Array
    outputs: Mapping[str, Array]
    layout: GridLayout | None
    layer_layout: Layout | None
    batch_size: int = 8
    progress: Progress = quiet

    @abstractmethod
    def run(self, batch: Array, outputs: Sequence[str]) -> Mapping[str, Array]:
        """Return *outputs* of the explanation graph for a batch of tensors, [B, …] each."""

    @abstractmethod
    def run_head(self, activations: Array) -> Array:
        """Return the scores [B] for activations [B, …] of the layer's own layout."""

    @abstractmethod
    def run_probabilities(self, batch: Array) -> Array:
        """Return the probabilities [B] for a batch of tensors; the scores where the target is no class."""

    @abstractmethod
    def run_similarities(self, batch: Array) -> Array:
        """Return how similar the detections in a batch of tensors are to the target, 0 to 1, [B]."""

    @property
    def x(self) -> Array:
        """The image's tensor as float32, in its own units."""
        return self.picture.astype(np.float32, copy=False)

    @property
    def value(self) -> Array:
        """What the method's graph emits for the image, float32."""
        return self.outputs[MAP][0].astype(np.float32)

    @property
    def score(self) -> float:
        """The score y of the image."""
        return float(self.outputs[SCORE][0])

    @property
    def activation(self) -> Array:
        """The layer's activation, float32 [K, *space], where the method's graph emits the layer's tensor."""
        return self._layer_layout().view(self.outputs[MAP])[0].astype(np.float32)

    @property
    def space(self) -> tuple[int, ...]:
        """The lengths of the image's spatial axes."""
        return tuple(self.picture.shape[axis - 1] for axis in self._layout().space)

    @property
    def channels_last(self) -> Array:
        """x as [*space, channels]."""
        return self.with_channels_last(self.x)

    def with_channels_last(self, tensor: Array) -> Array:
        """Return a tensor of the shape of x as [*space, channels]."""
        return np.moveaxis(tensor, self._layout().channel - 1, -1)

    def masked(self, mask: Array, baseline: float = 0.0) -> Array:
        """Return x where *mask*, [*space] in [0, 1], is 1, and *baseline* where it is 0."""
        weight = np.expand_dims(mask, self._layout().channel - 1)
        return weight * self.x + (1 - weight) * baseline if baseline else weight * self.x

    def blurred(self, share: float) -> Array:
        """Return x blurred by a Gaussian with σ = *share* of each side; pixels at the edge are repeated beyond it."""
        found = self.x
        for axis in self._layout().space:
            turned = np.moveaxis(found, axis - 1, -1)
            found = np.moveaxis(turned @ _gaussian(turned.shape[-1], share), -1, axis - 1)
        return found

    def values(self, samples: Iterable[Array], total: int, in_turn: bool = False) -> Iterator[Array]:
        """Yield for each sample what the method's graph emits, float64.

        *in_turn*: a sample is made after the value of the one before was used, so that it may depend on it.
        """
        for batch in self._batches(samples, total, 1 if in_turn else 0):
            yield from self.run(self._tensor(batch), [MAP])[MAP].astype(np.float64)

    def values_and_scores(self, samples: Iterable[Array], total: int) -> Iterator[tuple[Array, float]]:
        """Yield for each sample what the method's graph emits, float64, and the score y."""
        for batch in self._batches(samples, total):
            found = self.run(self._tensor(batch), [MAP, SCORE])
            yield from zip(found[MAP].astype(np.float64), found[SCORE].astype(np.float64).tolist(), strict=True)

    def scores(self, samples: Iterable[Array], total: int) -> Array:
        """Return the score y of each sample, float64 [total]."""
        batches = self._batches(samples, total)
        return _joined((self.run(self._tensor(batch), [SCORE])[SCORE] for batch in batches), total)

    def probabilities(self, samples: Iterable[Array], total: int) -> Array:
        """Return the probability of the class for each sample, float64 [total]."""
        return _joined(
            (self.run_probabilities(self._tensor(batch)) for batch in self._batches(samples, total)),
            total,
        )

    def similarities(self, samples: Iterable[Array], total: int) -> Array:
        """Return how similar the detections in each sample are to the target detection, 0 to 1, float64 [total]."""
        return _joined(
            (self.run_similarities(self._tensor(batch)) for batch in self._batches(samples, total)),
            total,
        )

    def head_scores(self, factors: Iterable[Array], total: int) -> Array:
        """Return the score y with the layer's activation times each of *factors*, [K or 1, *space or 1 …] each."""
        return _joined((self.run_head(self._multiplied(batch)) for batch in self._batches(factors, total)), total)

    def scores_behind(self, activations: Iterable[Array], total: int) -> Array:
        """Return the score y with each of *activations*, [K, *space], in place of the layer's, float64 [total]."""
        return _joined((self.run_head(self._replaced(batch)) for batch in self._batches(activations, total)), total)

    def _replaced(self, given: Sequence[Array]) -> Array:
        activations = np.repeat(self.outputs[MAP], len(given), axis=0)
        self._layer_layout().view(activations)[...] = np.stack(given)
        return activations

    def _multiplied(self, factors: Sequence[Array]) -> Array:
        activations = np.repeat(self.outputs[MAP], len(factors), axis=0)
        view = self._layer_layout().view(activations)
        np.multiply(view, np.stack(factors), out=view, casting="unsafe")
        return activations

    def _batches(self, samples: Iterable[Array], total: int, size: int = 0) -> Iterator[list[Array]]:
        shown = iter(self.progress(samples, total))
        while batch := list(islice(shown, size or self.batch_size)):
            yield batch

    def _tensor(self, batch: Sequence[Array]) -> Array:
        return as_dtype(np.stack(batch), self.picture.dtype)

    def _layout(self) -> GridLayout:
        if self.layout is None:
            raise MethodError(
                f"this method covers parts of an image, but the model's input {self.picture.shape} has no axes of "
                "space; use --method gradient"
            )
        return self.layout

    def _layer_layout(self) -> Layout:
        if self.layer_layout is None:
            raise MethodError("this method changes a layer's activation, but uses no layer; enter it with uses_layer")
        return self.layer_layout


def as_dtype(samples: Array, dtype: np.dtype[Any]) -> Array:
    """Return real *samples* as *dtype*: rounded and clipped to its range where that is one of integers."""
    if np.issubdtype(dtype, np.integer):
        samples = np.clip(np.rint(samples), np.iinfo(dtype).min, np.iinfo(dtype).max)
    return samples.astype(dtype, copy=False)


def _joined(batches: Iterable[Array], total: int) -> Array:
    found = np.concatenate([batch.astype(np.float64) for batch in batches])
    if len(found) != total:
        raise EngineError(f"the model gave {len(found)} scores for {total} samples; use --method gradcam")
    return found


def _gaussian(length: int, share: float) -> Array:
    """Return the matrix [length, length] of a Gaussian blur with σ = *share* of the length."""
    weights = np.exp(-((np.arange(2 * length) / (share * length)) ** 2) / 2)  # by distance
    place, sums = np.arange(length), weights.cumsum()
    folded = weights[abs(place[:, None] - place)]
    beyond = sums[length:] - sums[:length]  # the pixels at the edge stand for as many beyond them
    folded[0] += beyond
    folded[-1] += beyond[::-1]
    return (folded / folded.sum(0)).astype(np.float32)
