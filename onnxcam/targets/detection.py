"""Detection: the score of one detection, selected by place, rank or class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.errors import TargetError
from onnxcam.graph.io import all_tensors
from onnxcam.metadata.reading import Part
from onnxcam.structure.layout import picture_layout
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.classification import class_index
from onnxcam.targets.coarse import UNREADABLE, coarse_scores, rounded
from onnxcam.targets.detectors.boxes import are_visible, inside, overlaps
from onnxcam.targets.detectors.candidates import Candidates, Decoder
from onnxcam.targets.detectors.clues import Clues, scale_of
from onnxcam.targets.detectors.coordinates import at_coordinate
from onnxcam.targets.detectors.guessed_names import GUESSED_NAMES, guessed_names
from onnxcam.targets.detectors.inner import InnerImage, is_image_of
from onnxcam.targets.detectors.layouts import find_decoder
from onnxcam.targets.detectors.similarity import similarity
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Array, Goal, Look, Similarity
from onnxcam.targets.kinds import Box, Class, Detection, Top
from onnxcam.targets.notation import Label, quoted, rectangle
from onnxcam.targets.registry import TargetKind, Task, resolves

__all__ = [
    "FIRST",
    "MIN_OVERLAP",
    "MIN_PROBABILITY",
    "SAME_OBJECT",
    "CandidateClass",
    "Detections",
    "detections",
    "region_of",
]

MIN_PROBABILITY = 0.25
"""A candidate of at least this probability is a detection."""
SAME_OBJECT = 0.5
"""Boxes of the same object overlap by at least this intersection over union."""
_ROUNDING = 0.05
"""A box that is written in whole pixels loses at most this intersection over union."""
FIRST = 1000
"""Number of candidates that suppression compares, where only the best detections are wanted."""
MIN_OVERLAP = 0.1
"""A box with a smaller intersection over union with every candidate matches none."""

_NO_PLACES = (
    "the model's boxes follow no known convention and cannot be decoded: they may be offsets from anchors (priors), "
    "which the file does not hold. The score is explained without a box; boxes_output (--boxes-output) names a "
    "convention"
)
_NO_BOX = (
    "the box {} of this detection is turned over, outside the image or a pixel wide, so it is not shown; "
    "boxes_output (--boxes-output) names another convention of boxes, such as {!r}"
)
_CELL = (
    "the box of this detection was decoded from offsets to {}, which is no box in the image: the cell of the "
    "detection is shown instead"
)

CandidateClass: TypeAlias = "tuple[int, int]"
"""A candidate and its class."""


@dataclass(frozen=True)
class Detections(Task):
    """A detector."""

    decoder: Decoder
    labels: Sequence[str] | None
    source: str = "shapes"
    units: Mapping[str, tuple[float, int]] = field(default_factory=dict, hash=False)
    """Scale and zero point of tensors of integers, by name."""
    name: str = "a detector"
    warnings: tuple[str, ...] = ()
    inner: InnerImage | None = None
    """The image inside the graph in whose pixels the boxes are; None: the image tensor."""
    cards = ("detection",)

    @classmethod
    def find(cls, evidence: Evidence, known: bool) -> Iterator[Task]:
        """Yield a detector if the outputs have one of the layouts of `onnxcam.targets.detectors.layouts`."""
        layout = picture_layout(evidence.image)
        if layout is None or len(layout.space) != 2:
            return
        labels: Sequence[str] | None = evidence.names.of(None)
        clues = Clues.of(evidence, layout, len(labels) if labels else None, known)
        inner = InnerImage.of(evidence.graph, evidence.image)
        decoder = None if inner is None else find_decoder(replace(clues, size=inner.size))
        if decoder is None or inner is None or not is_image_of(decoder, evidence, inner.size):
            decoder, inner = find_decoder(clues), None
        if decoder is not None:
            source = decoder.source if clues.kind is None else "metadata"
            tensors = all_tensors(evidence.graph)
            coarse = coarse_scores(tensors[decoder.aim.tensor])
            doubts = () if coarse is None else (coarse,)
            if labels is None and (labels := guessed_names(decoder, tensors, clues)) is not None:
                doubts = (*doubts, GUESSED_NAMES)
            yield cls(decoder, labels, source, _units(tensors, decoder.tensors), warnings=doubts, inner=inner)
        elif clues.boxes is not None:
            raise TargetError(
                f"no output holds scores for the boxes in {clues.boxes.name!r}; name it with scores_output (--scores)"
            )

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the tensor of scores."""
        return self.decoder.aim

    def parts(self) -> Iterator[Part]:
        """Yield scores and boxes."""
        return self.decoder.parts()

    @resolves(Detection)
    def by_rank(self, target: Detection, look: Look) -> Goal:
        """The score of the detection of a rank, of all or of one class; or a coordinate of its box."""
        seen = self._candidates(look)
        found = self._ranked(seen, target.number, self._class(target.label, seen), look)
        return self._goal_at(seen, found, look, target.coordinate)

    @resolves(Box)
    def by_place(self, target: Box, look: Look) -> Goal:
        """The score of the candidate at a place, or a coordinate of its box."""
        seen = self._candidates(look)
        corners = look.to_tensor(target.corners)
        found = self._at(seen, corners, self._class(target.label, seen), look)
        return self._goal_at(seen, found, look, target.coordinate)

    @resolves(Class)
    def by_class(self, target: Class, look: Look) -> Goal:
        """The score of the best detection of a class."""
        seen = self._candidates(look)
        return self._goal(seen, self._ranked(seen, 0, self._class(target.label, seen), look), look)

    @resolves(Top)
    def top(self, target: Top, look: Look) -> Goal:
        """The score of the best detection."""
        seen = self._candidates(look)
        found = self._ranked(seen, 0, None, look)
        return replace(self._goal(seen, found, look), note=f"the best detection: {self._said(seen, found, look)}")

    def found(self, look: Look, least: float = MIN_PROBABILITY, most: int | None = None) -> tuple[Array, Array, Array]:
        """Return the detections of at least the probability *least*, the best first; at most *most*.

        Returns:
            Boxes [B, 4] in pixels of the image, NaN where the place is unknown; probabilities [B]; classes [B].
        """
        seen = self._candidates(look)
        pairs = np.array(detections(seen, least=least, few=most is not None)[:most], int).reshape(-1, 2)
        rows, classes = pairs.T
        return look.boxes(seen.corners[rows]), seen.scores[rows, classes], classes

    def _candidates(self, look: Look) -> Candidates:
        return look.once(id(self.decoder), lambda: self.candidates(look.tensors(self.decoder.tensors), look.size))

    def _detections(self, seen: Candidates, category: int | None, look: Look) -> list[CandidateClass]:
        return look.once((id(self.decoder), category), lambda: detections(seen, category))

    def candidates(self, tensors: Sequence[Array], size: tuple[int, ...]) -> Candidates:
        """Return the candidates in the decoder's *tensors* of an image whose tensor has *size* (height, width)."""
        real, inner = self._reals(tensors), self.inner
        if inner is None:
            return self.decoder.read(real, size)
        seen = self.decoder.read(real, inner.size)
        cell = None if seen.cells is None else inner.outer(seen.cells)
        return replace(seen, corners=inner.outer(seen.corners), cells=cell)

    def _reals(self, tensors: Sequence[Array]) -> list[Array]:
        """Return the decoder's *tensors* as real numbers."""
        return list(map(self._real, self.decoder.tensors, tensors))

    def _real(self, name: str, tensor: Array) -> Array:
        """Return *tensor* as real numbers; TargetError where its scale leaves no score between 0 and 1."""
        if name not in self.units:
            return tensor
        scale, zero = self.units[name]
        if len(self.decoder.tensors) == 1 and scale > UNREADABLE:
            raise TargetError(rounded(repr(name), scale))
        return (tensor.astype(np.float32) - zero) * scale

    def _goal_at(self, seen: Candidates, found: CandidateClass, look: Look, coordinate: str | None) -> Goal:
        """Return the goal of the score of a detection, or of a *coordinate* of its box."""
        goal, (candidate, _) = self._goal(seen, found, look), found
        if coordinate is None:
            return goal
        if not np.isfinite(seen.corners[candidate]).all():
            raise TargetError(f"{_NO_PLACES}; so coordinate= cannot be explained")
        inner, size = self.inner, look.size if self.inner is None else self.inner.size

        def picture(corners: Array) -> Array:
            outer = corners if inner is None else inner.outer(corners)
            return np.array([look.to_picture([*one]) for one in outer])

        box = self.decoder.box(self._reals(look.tensors(self.decoder.tensors)), size, candidate)
        return at_coordinate(goal, box, coordinate, picture)

    def _goal(self, seen: Candidates, found: CandidateClass, look: Look) -> Goal:
        candidate, category = found
        aim, weights = seen.aim(candidate, category)
        corners, label = seen.corners[candidate], self._label(category)
        visible = bool(are_visible(corners[None], look.size)[0])
        cell = None if seen.cells is None else seen.cells[candidate]
        place = _place(seen, candidate, look.size)
        box = None if place is None or not np.isfinite(corners).all() else look.to_picture([*place])
        name = quoted(label or category)
        return Goal(
            aim,
            weights.astype(np.float32),
            f"box={rectangle(look.to_picture([*corners]))} class={name}"
            if visible
            else f"detection={_rank(seen, found)} class={name}",
            category,
            label,
            float(seen.scores[candidate, category]),
            box=box,
            similarity=self._similarity(seen, found, look.size),
            region=region_of(seen, candidate, look.size),
            warnings=(*self._doubts(seen), *(() if visible else (self._why_no_box(corners, cell, look),))),
        )

    def _similarity(self, seen: Candidates, found: CandidateClass, size: tuple[int, ...]) -> Similarity | None:
        """Return the comparison of other runs with a detection; None where its box is unknown."""
        candidate, category = found
        corners, scores = seen.corners[candidate], seen.scores[candidate]
        if not np.isfinite(corners).all():
            return None
        classes = scores if scores.argmax() == category else np.eye(len(scores))[category]
        return Similarity(
            self.decoder.tensors, lambda tensors: similarity(self.candidates(tensors, size), corners, classes)
        )

    def _doubts(self, seen: Candidates) -> Iterator[str]:
        """Yield a warning where there are more or fewer names than classes."""
        count = seen.scores.shape[1]
        if self.labels and seen.complete and len(self.labels) != count:
            yield f"there are {len(self.labels)} names for {count} classes: the names may be wrong; give one for each"

    def _why_no_box(self, corners: Array, cell: Array | None, look: Look) -> str:
        if not np.isfinite(corners).all():
            return _NO_PLACES
        box = rectangle(look.to_picture([*corners]))
        return _NO_BOX.format(box, f"{self.decoder.tensors[-1]}:xyxy") if cell is None else _CELL.format(box)

    def ranked(self, look: Look) -> list[TargetKind]:
        """Return a target for each detection, the best first."""
        return [Detection(number) for number in range(len(detections(self._candidates(look))))]

    def _at(self, seen: Candidates, corners: Sequence[float], category: int | None, look: Look) -> CandidateClass:
        """Return the candidate with the best score among those that overlap *corners* enough, or else most.

        A candidate that equals *corners* up to rounding to pixels is preferred.
        """
        scores = _of_class(seen.scores, category)
        if len(seen.corners) and not np.isfinite(seen.corners).any():
            raise TargetError(f"{_NO_PLACES}; take a target such as detection=0 or a class")
        overlap = np.where(scores.max(axis=1, initial=0) > 0, overlaps(seen.corners, np.asarray(corners)), 0)
        best = float(overlap.max(initial=0))
        if best < MIN_OVERLAP:
            what = "" if category is None else f" as class {self._label(category) or category!r}"
            raise TargetError(
                f"the box {rectangle(look.to_picture(corners))} matches nothing that the model proposes{what}; "
                f"it detects {self._all(seen, look)}"
            )
        least = best - _ROUNDING if best >= 1 - _ROUNDING else min(SAME_OBJECT, best)
        close = np.where(overlap >= least, scores.max(axis=1), -1)
        candidate = int(np.argmax(close))
        return candidate, int(np.argmax(scores[candidate]))

    def _ranked(self, seen: Candidates, number: int, category: int | None, look: Look) -> CandidateClass:
        found = self._detections(seen, category, look)
        if number >= len(found):
            what = "objects" if category is None else f"objects of class {self._label(category) or category!r}"
            raise TargetError(
                f"there is no detection {number}: the model detects {len(found)} {what} in this image (counted "
                f"from 0, from {MIN_PROBABILITY:.0%} on); in all {self._all(seen, look)}. "
                "A box=x1,y1,x2,y2 may name any place"
            )
        return found[number]

    def _class(self, label: Label | None, seen: Candidates) -> int | None:
        if label is None or (isinstance(label, int) and label >= 0 and not seen.complete):
            return label
        names = self.labels if self.labels and len(self.labels) >= seen.scores.shape[1] else None
        return class_index(label, len(names) if names else seen.scores.shape[1], names or self.labels)

    def _label(self, category: int) -> str | None:
        return self.labels[category] if self.labels and category < len(self.labels) else None

    def _said(self, seen: Candidates, found: CandidateClass, look: Look) -> str:
        candidate, category = found
        name = self._label(category) or f"class {category}"
        corners = seen.corners[candidate]
        place = f" at {rectangle(look.to_picture(corners))}" if are_visible(corners[None], look.size)[0] else ""
        return f"{name} {seen.scores[found]:.0%}{place}"

    def _all(self, seen: Candidates, look: Look) -> str:
        return "; ".join(self._said(seen, found, look) for found in self._detections(seen, None, look)[:5]) or "nothing"


def _place(seen: Candidates, candidate: int, size: tuple[int, ...]) -> Array | None:
    """Return the box of *candidate*, its cell if the box is not visible; None where it has none."""
    if are_visible(seen.corners[candidate][None], size)[0]:
        return seen.corners[candidate]
    return None if seen.cells is None else seen.cells[candidate]


def region_of(seen: Candidates, candidate: int, size: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """Return the region of *candidate* in the image tensor of *size*; None where it has none."""
    place = _place(seen, candidate, size)
    return None if place is None else inside(place, size)


def detections(
    seen: Candidates, category: int | None = None, least: float = MIN_PROBABILITY, *, few: bool = False
) -> list[CandidateClass]:
    """Return the candidates of at least the probability *least*, the best first, after non-maximum suppression.

    It suppresses boxes of one class; candidates of unknown place are not suppressed. *few*: of the best `FIRST` ones.
    """
    scores = _of_class(seen.scores, category)
    if not scores.size:
        return []
    best, tops = scores.argmax(axis=1), scores.max(axis=1)
    first = float(np.partition(tops, -FIRST)[-FIRST]) if few and len(tops) > FIRST else least
    likely, placed = tops >= max(first, least), np.isfinite(seen.corners).all(axis=1)
    near = _suppressed(seen.corners, tops, best, np.flatnonzero(likely & placed), least)
    kept = [*near, *np.flatnonzero(likely & ~placed)]
    return [(int(i), int(best[i])) for i in sorted(kept, key=lambda i: -tops[i])]


def _suppressed(corners: Array, scores: Array, classes: Array, rows: Array, least: float) -> Array:
    """Return those of *rows* that non-maximum suppression in each class keeps."""
    import cv2

    x1, y1, x2, y2 = corners[rows].T
    boxes = np.stack([x1, y1, x2 - x1, y2 - y1], axis=1)
    kept = cv2.dnn.NMSBoxesBatched(boxes.tolist(), scores[rows].tolist(), classes[rows].tolist(), least, SAME_OBJECT)
    return np.asarray(rows[np.asarray(kept, int).reshape(-1)])


def _rank(seen: Candidates, found: CandidateClass) -> int:
    """Return the rank of a detection among those of its class."""
    same = detections(seen, found[1])
    return same.index(found) if found in same else 0


def _units(tensors: Mapping[str, ir.Value], names: Sequence[str]) -> dict[str, tuple[float, int]]:
    """Return scale and zero point of those of the tensors *names* that are integers of a known scale."""
    found = {name: scale_of(tensors[name]) for name in names if name in tensors}
    return {name: one for name, one in found.items() if one is not None}


def _of_class(scores: Array, category: int | None) -> Array:
    if category is None:
        return scores
    alone = np.zeros_like(scores)
    if category < scores.shape[1]:
        alone[:, category] = scores[:, category]
    return alone
