"""The inputs of two models that are compared: do both get the same numbers, and how is the preprocessing known?

A preprocessing that nobody states is a guess. Before two models are compared, a guess follows what is known: the range
that the own quantised input represents, then the preprocessing of the other model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import PreprocessError
from onnxcam.media.image import RgbImage
from onnxcam.model.description import ModelDescription
from onnxcam.preprocess import CallablePreprocess, Preprocess, ResolvedPreprocess, TensorSpec, parse
from onnxcam.preprocess.input_evidence import InputEvidence, span
from onnxcam.preprocess.parser import check

__all__ = ["ImageModel", "InputDifference", "alternatives", "difference", "is_open", "settle", "using"]

_PRESETS = ("unit", "inception", "imagenet", "caffe", "raw")
"""Presets that an open preprocessing may be; the others differ from one of these by little, or in geometry only."""
_SAME = 0.02
"""Inputs are the same if they differ by less than this share of their range, on average."""


class ImageModel(Protocol):
    """A model that takes images, with what its graph says of its input."""

    network: ModelDescription
    evidence: InputEvidence

    @property
    def name(self) -> str:
        """Name for messages."""


@dataclass(frozen=True)
class InputDifference:
    """Two models get different numbers for one image.

    Attributes:
        words: What each of them gets.
        intended: Whether the user stated both.
    """

    words: str
    intended: bool

    @property
    def warning(self) -> str:
        """The difference as a warning."""
        return (
            f"the two models preprocess images differently: {self.words}; if this is not intended, give one "
            "--preprocess for both"
        )


def settle(reference: ImageModel, candidate: ImageModel) -> list[str]:
    """Let guesses follow evidence, in place; return a note on each change."""
    notes = [*_by_range("reference", reference), *_by_range("candidate", candidate)]
    first, second = reference.network.preprocessing, candidate.network.preprocessing
    if _numbers(first) == _numbers(second) and _geometry(first) == _geometry(second):
        return notes
    if _strength(candidate) <= _strength(reference):
        return notes + _follow("candidate", candidate, "reference", reference)
    return notes + _follow("reference", reference, "candidate", candidate)


def is_open(*models: ImageModel) -> bool:
    """Return whether nothing but convention says how images become the input of any of *models*."""
    return all(_strength(model) == 0 and not _is_fixed(model) for model in models)


def alternatives(*models: ImageModel) -> dict[str, list[ResolvedPreprocess]]:
    """Return presets, other than the present one, that fit all *models*: name → preprocessing of each model."""
    found: dict[str, list[ResolvedPreprocess]] = {}
    present = {_numbers(model.network.preprocessing) for model in models}
    for name in _PRESETS:
        try:
            made = [parse(name, TensorSpec.of(model.network.image)) for model in models]
        except PreprocessError:
            continue
        fits = all(_fits(model, how) for model, how in zip(models, made, strict=True))
        if fits and _numbers(made[0]) not in present:
            found[name] = [ResolvedPreprocess(how, "guess", f"{name!r} was tried") for how in made]
    return found


@contextmanager
def using(models: Sequence[ImageModel], preprocessings: Sequence[ResolvedPreprocess]) -> Iterator[None]:
    """Let *models* preprocess by *preprocessings* meanwhile."""
    before = [model.network.resolved for model in models]
    try:
        for model, how in zip(models, preprocessings, strict=True):
            model.network.use(how)
        yield
    finally:
        for model, how in zip(models, before, strict=True):
            model.network.use(how)


def difference(reference: ImageModel, candidate: ImageModel, picture: RgbImage) -> InputDifference | None:
    """Compare the inputs of both models for *picture*, in real numbers; None if they are the same."""
    first, second = _real_input(reference, picture), _real_input(candidate, picture)
    if first.shape == second.shape:
        width = max(np.ptp(first), np.ptp(second), 1e-9)
        if np.abs(first - second).mean() <= _SAME * width:
            return None
    words = f"{_words('reference', reference, first)}, {_words('candidate', candidate, second)}"
    stated = {model.network.resolved.source for model in (reference, candidate)}
    return InputDifference(words, stated == {"user"})


def _by_range(side: str, model: ImageModel) -> list[str]:
    """Replace a guess that the range of the quantised input excludes by the first preset that fits."""
    resolved = model.network.resolved
    if not resolved.guessed or model.evidence.range is None or model.evidence.range.fits(resolved.preprocess):
        return []
    for name, (how,) in alternatives(model).items():
        why = f"its quantised input represents {model.evidence.range}"
        model.network.use(replace(how, why=why))
        return [f"{side}: the preprocessing is {name!r} ({how.preprocess}), because {why}; --preprocess states another"]
    return []


def _follow(side: str, model: ImageModel, leader: str, other: ImageModel) -> list[str]:
    """Give *model* the preprocessing of *other*, if its own is a guess and nothing in its graph is against it."""
    resolved, how = model.network.resolved, other.network.preprocessing
    if not resolved.guessed or _is_fixed(model) != _is_fixed(other) or isinstance(how, CallablePreprocess):
        return []
    own, spec = resolved.preprocess, TensorSpec.of(model.network.image)
    try:
        how = replace(how, layout=own.layout, dtype=own.dtype, units=own.units)
        check(how, replace(spec, layout=own.layout))
    except PreprocessError:
        return []
    if not _fits(model, how):
        return []
    why = _reason(leader, other)
    model.network.use(ResolvedPreprocess(how, "partner", why))
    return [f"{side}: the preprocessing is that of the {leader} ({how}), because {why}; --preprocess states another"]


def _reason(side: str, model: ImageModel) -> str:
    """Return how the preprocessing of *model* is known."""
    resolved = model.network.resolved
    if not resolved.guessed:
        return f"that of the {side} is stated"
    if _strength(model):
        return f"the quantised input of the {side} represents {model.evidence.range}"
    return "both are guesses, and both models should get the same input"


def _strength(model: ImageModel) -> int:
    """Return how well the preprocessing is known: 2 stated, 1 by the range of the quantised input, 0 a guess."""
    if not model.network.resolved.guessed:
        return 2
    return int(model.evidence.range is not None and model.evidence.range.fits(model.network.preprocessing))


def _fits(model: ImageModel, how: Preprocess) -> bool:
    return model.evidence.range is None or model.evidence.range.fits(how)


def _is_fixed(model: ImageModel) -> bool:
    """Return whether the graph itself converts pixel values."""
    spec = TensorSpec.of(model.network.image)
    return model.evidence.normalises or not spec.normalises


def _numbers(how: Preprocess) -> tuple[object, ...]:
    """Return what decides the values; a function differs from all others."""
    if isinstance(how, CallablePreprocess):
        return (how.function,)
    return tuple(getattr(how, name) for name in ("range", "mean", "std", "order"))


def _geometry(how: Preprocess) -> tuple[object, ...]:
    return tuple(getattr(how, name) for name in ("resize", "crop", "letterbox", "longest", "fill", "anchor"))


def _real_input(model: ImageModel, picture: RgbImage) -> NDArray[np.float64]:
    """Return the input for *picture* in real numbers, [1, H, W, C]; raw integers without units are pixel values."""
    how = model.network.preprocessing
    tensor: NDArray[Any] = how(picture).astype(np.float64)
    units = TensorSpec.of(model.network.image).units
    if units is not None and how.dtype.kind in "iu":
        tensor = (tensor - units[1]) * units[0]
    elif how.dtype == np.int8:
        tensor = tensor + 128
    return np.moveaxis(tensor, 1, -1) if how.layout == "nchw" else tensor


def _words(side: str, model: ImageModel, tensor: NDArray[np.float64]) -> str:
    """Return what *model* gets: the preprocessing, how it is known, and the numbers that its input can hold."""
    resolved = model.network.resolved
    made = span(resolved.preprocess)
    ends = f"{tensor.min():.3g} to {tensor.max():.3g}" if made is None else f"{made[0]:.3g} to {made[1]:.3g}"
    known = "a guess" if resolved.guessed else "stated"
    held = model.evidence.range
    if held is not None and not held.fits(resolved.preprocess):
        known += f", though its quantised input represents {held}"
    return f"the {side} by {resolved.preprocess} (numbers from {ends}; {known})"
