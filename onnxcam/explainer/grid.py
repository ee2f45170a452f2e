"""Several explainers, images and targets → explanations in rows and columns, for a sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxcam.errors import MethodError, OnnxcamError, OutputError, ProviderError
from onnxcam.explainer.explainer import Explainer
from onnxcam.explainer.explanation import Explanation
from onnxcam.explainer.sheet import MOST, Sheet, sheet
from onnxcam.media import image as images
from onnxcam.media.video import is_video
from onnxcam.progress import Progress, quiet
from onnxcam.targets import Target

__all__ = ["ExplanationGrid", "explain_grid"]

_WRAP = 6
"""The most pictures of a sheet of one row."""
_SIDE = 900
"""The longer side of a picture of a sheet, in pixels."""


@dataclass
class ExplanationGrid:
    """The explanations of images by several explainers.

    Attributes:
        names: The image files.
        explainers: The explainers.
        found: By image and explainer, the explanations of the targets; a row without any could not be explained.
        failed: The images that could not be explained, and why.
    """

    names: Sequence[str]
    explainers: Sequence[Explainer]
    found: list[list[list[Explanation]]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)

    def __repr__(self) -> str:
        """Return one line: how many images and explainers, without maps."""
        return f"ExplanationGrid({len(self.names)} images by {', '.join(one.method for one in self.explainers)})"

    @property
    def entries(self) -> list[dict[str, Any]]:
        """What is on the sheet, for a program that reads it."""
        return [
            {
                "image": name,
                "target": {"index": one.target, "label": one.label},
                "words": one.words,
                "score": one.score,
                "probability": one.probability,
                "method": one.method,
                "layer": one.layer,
                "warnings": list(one.warnings),
            }
            for name, row in zip(self.names, self.found, strict=True)
            for cell in row
            for one in cell
        ]

    def sheet(self, **options: Any) -> Sheet:
        """Return the sheet: an image in each row, its targets, or methods and layers, in the columns.

        With several methods or layers, each target has a row of its own. A single row of more than six pictures is
        broken into several. *options* are those of `sheet`.
        """
        rows: list[list[Explanation | None]] = []
        titles: list[str] = []
        for name, row in zip(self.names, self.found, strict=True):
            if not any(row):
                continue
            lines: list[list[Explanation | None]] = [[*row[0]]] if len(self.explainers) == 1 else _turned(row)
            rows += lines
            titles += [Path(name).stem, *[""] * (len(lines) - 1)]
        many = len({title for title in titles if title}) > 1
        heads = self._heads() if len(self.explainers) > 1 else ()
        widest = max(map(len, rows), default=0)
        padded = [[*row, *[None] * (widest - len(row))] for row in rows]
        return sheet(padded, **{"rows": titles if many else (), "columns": heads, "wrap": _WRAP, **options})

    def _heads(self) -> list[str]:
        """Return the titles of the explainers: what differs, the method or the layer."""
        methods = [one.method for one in self.explainers]
        layers = [_layer(one) for one in self.explainers]
        said = {"auto" if one.layer is None else str(one.layer) for one in self.explainers}
        differ = len(set(methods)) > 1, len(said) > 1
        pairs = zip(methods, layers, strict=True)
        return ["\n".join(word for word, shown in zip(pair, differ, strict=True) if shown and word) for pair in pairs]


def explain_grid(
    explainers: Sequence[Explainer],
    names: Sequence[str],
    targets: Sequence[Target],
    *,
    strict: bool = False,
    progress: Progress = quiet,
) -> ExplanationGrid:
    """Explain each image for each target by each explainer; all explainers are of one model.

    Args:
        explainers: Of one model and preprocessing, with several methods or layers.
        names: Image files.
        targets: Targets of each image; None is the explainer's.
        strict: Raise the first error of an image; with one image it is always raised.
        progress: Wraps the images.

    Raises:
        MethodError: an explainer finds all concepts of an image.
        OnnxcamError: no image could be explained.
    """
    if len(names) * len(explainers) > MOST:
        raise OutputError(
            f"{len(names)} images by {len(explainers)} explainers are too many for a sheet; it has {MOST} pictures"
        )
    if any(one.finds_concepts for one in explainers):
        raise MethodError("a sheet has one map of dff; choose the concept, settings={'rank': 1} (--set rank=1)")
    grid = ExplanationGrid(names, explainers)
    for name in progress(names, len(names)):
        try:
            grid.found.append(_row(explainers, name, targets))
        except (OutputError, ProviderError):
            raise
        except OnnxcamError as error:
            if strict or len(names) == 1:
                raise
            grid.found.append([])
            grid.failed.append((name, str(error)))
    if len(grid.failed) == len(names):
        name, why = grid.failed[0]
        raise OnnxcamError(f"no image of {len(names)} was explained; the first: {name}: {why}")
    return grid


def _row(explainers: Sequence[Explainer], name: str, targets: Sequence[Target]) -> list[list[Explanation]]:
    """Return the explanations of an image, which is read and preprocessed once; all of the first one's targets."""
    network = explainers[0].network
    of_frames = is_video(name) and network.modality.decodes(name)
    content = images.read(name) if network.modality.decodes(name) and not of_frames else name
    image = name if of_frames else explainers[0].prepare(content)
    row = []
    wanted = targets
    for explainer in explainers:
        row.append([_small(one) for one in explainer.each(image, list(wanted))])
        wanted = [one.words for one in row[0]]
    return row


def _small(one: Explanation) -> Explanation:
    """Return the explanation of an image in the size of a sheet's pictures, without what a sheet does not show."""
    import cv2

    height, width = one.image.shape[:2]
    scale = _SIDE / max(height, width)
    if one.map_at is None or one.map.ndim != 2 or one.signal is not None or scale >= 1:
        return replace(one, map_at=None, outputs={})
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return one.resized(np.asarray(cv2.resize(one.image, size, interpolation=cv2.INTER_AREA), np.uint8))


def _turned(row: Sequence[Sequence[Explanation]]) -> list[list[Explanation | None]]:
    """Return a line for each target, with the explainers in its columns."""
    count = max(map(len, row))
    return [[cell[at] if at < len(cell) else None for cell in row] for at in range(count)]


def _layer(explainer: Explainer) -> str:
    """Return the name of the layer: as the user said it, else the one that was chosen."""
    said = explainer.layer
    if said is None or said == "auto":
        return "" if explainer.choice is None else explainer.choice.layer.name
    return said if isinstance(said, str) else ", ".join(said)
