"""The inputs of two compared models: whether both get the same numbers, and how the preprocessing is known.

A preprocessing that nothing states is a guess. Before two models are compared, a guess follows what is known: the range
that the own quantised input represents, then the preprocessing of the other model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.array_inputs import takes_arrays
from onnxcam.errors import PreprocessError
from onnxcam.media.image import RgbImage
from onnxcam.model.description import ModelDescription
from onnxcam.preprocess import CallablePreprocess, Preprocess, ResolvedPreprocess, TensorSpec, parse
from onnxcam.preprocess.input_evidence import InputEvidence, span
from onnxcam.preprocess.parser import check

__all__ = [
    "ImageModel",
    "InputDifference",
    "alternatives",
    "difference",
    "is_open",
    "preset_of",
    "presets",
    "settle",
    "using",
]

_PRESETS = ("unit", "inception", "imagenet", "caffe", "raw")
"""Presets to try where no preprocessing is stated; the others differ little from one of these, or in geometry only."""
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
    if any(takes_arrays(model.network) for model in (reference, candidate)):
        return _settled_arrays(reference, candidate)
    notes = [*_by_range("reference", reference), *_by_range("candidate", candidate)]
    first, second = reference.network.preprocessing, candidate.network.preprocessing
    if _numbers(first) == _numbers(second) and _geometry(first) == _geometry(second):
        return notes
    if _strength(candidate) <= _strength(reference):
        return notes + _follow("candidate", candidate, "reference", reference)
    return notes + _follow("reference", reference, "candidate", candidate)


def _settled_arrays(reference: ImageModel, candidate: ImageModel) -> list[str]:
    """Return a warning if two models of signals or volumes scale them differently."""
    first, second = (model.network.modality.reading.value for model in (reference, candidate))
    if first == second:
        return []
    return [f"the reference scales its input by {first}, the candidate by {second}; give one --preprocess for both"]


def is_open(*models: ImageModel) -> bool:
    """Return whether only convention suggests the preprocessing of all *models*."""
    return all(_strength(model) == 0 and not _is_fixed(model) for model in models)


def presets(*models: ImageModel) -> dict[str, list[ResolvedPreprocess]]:
    """Return the presets that fit all *models*: name → preprocessing of each model."""
    found: dict[str, list[ResolvedPreprocess]] = {}
    for name in _PRESETS:
        try:
            made = [parse(name, TensorSpec.of(model.network.image)) for model in models]
        except PreprocessError:
            continue
        if all(_fits(model, how) for model, how in zip(models, made, strict=True)):
            found[name] = [ResolvedPreprocess(how, "guess", f"{name!r} was tried") for how in made]
    return found


def alternatives(*models: ImageModel) -> dict[str, list[ResolvedPreprocess]]:
    """Return the `presets` that make other numbers than the present preprocessings do."""
    present = {_numbers(model.network.preprocessing) for model in models}
    return {name: made for name, made in presets(*models).items() if _numbers(made[0].preprocess) not in present}


def preset_of(model: ImageModel) -> str:
    """Return the option of the present preprocessing: a preset where one makes the same numbers."""
    present = model.network.preprocessing
    for name, (how,) in presets(model).items():
        if _numbers(how.preprocess) == _numbers(present):
            return name
    return str(present)


@contextmanager
def using(models: Sequence[ImageModel], preprocessings: Sequence[ResolvedPreprocess]) -> Iterator[None]:
    """Give *models* these *preprocessings* inside the context."""
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
    ends = [_ends(model, tensor) for model, tensor in ((reference, first), (candidate, second))]
    if ends[0] == ends[1]:
        ends = [str(model.network.preprocessing) for model in (reference, candidate)]
    words = f"the reference {ends[0]} ({_known(reference)}), the candidate {ends[1]} ({_known(candidate)})"
    return InputDifference(words, _is_intended(reference) and _is_intended(candidate))


def _is_intended(model: ImageModel) -> bool:
    """Return whether the user stated the preprocessing, and the range of the input suggests no other."""
    resolved = model.network.resolved
    return resolved.source == "user" and (_fits(model, resolved.preprocess) or not presets(model))


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
    why, is_guess = _reason(leader, other), is_open(other)
    model.network.use(ResolvedPreprocess(how, "guess" if is_guess else "partner", why))
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
    """Return how well the preprocessing is known: 2 stated, 1 by the range of the input, 0 a guess."""
    if not model.network.resolved.guessed:
        return 2
    held = model.evidence.range
    return int(held is not None and held.fits(model.network.preprocessing) and not alternatives(model))


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


def _ends(model: ImageModel, tensor: NDArray[np.float64]) -> str:
    """Return the smallest and the largest number that *model* gets; of a function, those of one *tensor*."""
    made = span(model.network.preprocessing)
    low, high = (float(tensor.min()), float(tensor.max())) if made is None else made
    return f"{low:.3g} to {high:.3g}"


def _known(model: ImageModel) -> str:
    """Return how the preprocessing of *model* is known, and what contradicts it."""
    resolved, held, known = model.network.resolved, model.evidence.range, "stated"
    if resolved.guessed:
        known = "known by its graph" if _is_fixed(model) or _strength(model) else "a guess"
    if held is not None and not held.fits(resolved.preprocess):
        known += f", but its quantised input represents {held}"
    return known
