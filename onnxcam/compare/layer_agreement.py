"""Results of `--layers`: agreement of two models at each layer, and the layer where they begin to differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnxcam.text import visible

__all__ = [
    "DISAGREEMENT",
    "GRADUAL",
    "JUMP",
    "NOISE",
    "QUIET",
    "LayerAgreement",
    "LayerMarks",
    "first_disagreeing",
    "first_jump",
    "marks",
    "sentence",
]

DISAGREEMENT = 0.5
"""Two maps disagree if the IoU of their top fifth is below this value, as in the default requirements."""
NOISE = 0.004
"""Smallest noise that is assumed: 1 - cosine of the activations at the worst layer of sound int8 networks."""
QUIET = 0.001
"""The same, if the activations differ by `GRADUAL` at any layer: then a smaller jump is the cause."""
JUMP = 6.0
"""The activations jump at a layer whose 1 - cosine is this many times the largest of the layers before it.

In sound int8 networks, 1 - cosine grows at most threefold from one layer to the next; a scale that is wrong by a factor
of 12 raises it fiftyfold.
"""
_NAME = 80  # characters of a layer's name in a sentence; converters join dozens of names
GRADUAL = 0.1
"""Without a jump, activations with this 1 - cosine or more differ."""


@dataclass(frozen=True)
class LayerAgreement:
    """Agreement at one common layer: names in both models, size, and means over the images; None if undefined."""

    reference: str
    candidate: str
    size: str
    activations: float | None  # cosine similarity
    pearson: float | None
    iou: float | None

    @property
    def disagrees(self) -> bool:
        """Whether the maps disagree at this layer."""
        return self.iou is not None and self.iou < DISAGREEMENT

    @property
    def distance(self) -> float | None:
        """1 - cosine of the activations; None if undefined."""
        return None if self.activations is None else max(0.0, 1 - self.activations)

    @property
    def name(self) -> str:
        """The name for messages: of the reference, and of the candidate if it differs."""
        first, second = visible(self.reference, _NAME), visible(self.candidate, _NAME)
        return first if self.reference == self.candidate else f"{first} (candidate: {second})"


@dataclass(frozen=True)
class LayerMarks:
    """What is wrong at one layer: its activations, its map."""

    activations: bool
    map: bool


def first_jump(levels: Sequence[LayerAgreement]) -> int | None:
    """Return the index of the first layer whose activations jump; None if the agreement holds or falls gradually."""
    return next((number for number, level in enumerate(levels) if _exceeds(level, _bound(levels, number))), None)


def first_disagreeing(levels: Sequence[LayerAgreement]) -> LayerAgreement | None:
    """Return the first layer of the final run of layers whose maps disagree; None if the last layer agrees.

    A disagreement that later layers correct does not count.
    """
    start = _final_run(levels)
    return levels[start] if start < len(levels) else None


def marks(levels: Sequence[LayerAgreement]) -> list[LayerMarks]:
    """Return what is wrong at each layer.

    The maps of the layers before a jump do not count: they depend on the layers after it.
    """
    jump = first_jump(levels)
    bound = GRADUAL if jump is None else _bound(levels, jump)
    start = _final_run(levels) if jump is None else jump
    return [
        LayerMarks(
            number >= (jump or 0) and _exceeds(level, bound),
            number >= start and level.disagrees,
        )
        for number, level in enumerate(levels)
    ]


def sentence(levels: Sequence[LayerAgreement]) -> str:
    """Return a sentence that names the layer where the two models begin to differ."""
    jump = first_jump(levels)
    if jump is not None:
        return _jump_sentence(levels, jump)
    wrong = [level for level in levels if _exceeds(level, GRADUAL)]
    if wrong:
        return (
            f"the activations drift apart gradually, to a cosine of {_cosine(wrong[-1])} at {wrong[-1].name}: no "
            "single layer stands out"
        )
    return _map_sentence(levels)


def _jump_sentence(levels: Sequence[LayerAgreement], jump: int) -> str:
    at, before = levels[jump], [level for level in levels[:jump] if level.distance is not None]
    found = f"they begin to differ at {at.name}: the cosine of the activations is {_cosine(at)}"
    if not before:
        return f"{found} at this first layer already; check the preprocessing, then the operators before it"
    found += f", after {_cosine(before[-1])} at {visible(before[-1].reference, _NAME)}"
    if not any(mark.activations for mark in marks(levels)[-1:]):
        return f"{found}; later layers correct it"
    return f"{found}; check the operators between these two layers"


def _map_sentence(levels: Sequence[LayerAgreement]) -> str:
    first, last = first_disagreeing(levels), levels[-1]
    if first is None:
        agreement = "no map to compare" if last.iou is None else f"IoU {last.iou:.2f}"
        return f"they look at the same place up to the last layer, {last.reference} ({agreement})"
    at = levels.index(first)
    before = "the first layer" if at == 0 else f"after {levels[at - 1].reference}"
    return f"they begin to look elsewhere at {first.reference} (IoU {first.iou:.2f}), {before}"


def _final_run(levels: Sequence[LayerAgreement]) -> int:
    """Return the index of the first layer of the final run of layers whose maps disagree."""
    start = len(levels)
    while start and levels[start - 1].disagrees:
        start -= 1
    return start


def _bound(levels: Sequence[LayerAgreement], number: int) -> float:
    """Return the 1 - cosine of a jump at layer *number*."""
    before = [level.distance for level in levels[:number] if level.distance is not None]
    is_lost = before and any(_exceeds(level, GRADUAL) for level in levels)
    return JUMP * max(QUIET if is_lost else NOISE, *before, 0.0)


def _exceeds(level: LayerAgreement, bound: float) -> bool:
    return level.distance is not None and level.distance >= bound


def _cosine(level: LayerAgreement) -> str:
    """Return the cosine; with so many digits that it is not rounded to 1."""
    found = level.activations or 0.0
    return f"{found:.3f}" if found < 0.9995 else f"{found:.6f}"
