"""Explanations -> a folder: overlays, maps, and manifest.json, written last."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onnxcam import files
from onnxcam.errors import OnnxcamError
from onnxcam.explainer.explanation import Explanation
from onnxcam.metadata.reading import Part
from onnxcam.text import to_json

__all__ = ["MANIFEST", "Folder"]

MANIFEST = "manifest.json"


class Folder(files.StagedFolder):
    """A folder of explanations and their manifest, written completely or not at all; see `files.StagedFolder`."""

    def __init__(self, directory: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        super().__init__(directory, MANIFEST, overwrite=overwrite)
        self.entries: list[dict[str, Any]] = []
        self._stems: set[str] = set()

    def add(
        self,
        image: str | os.PathLike[str],
        explanation: Explanation,
        *,
        alpha: float = 0.5,
        colormap: str = "jet",
        boxes: bool = False,
        reading: Sequence[Part] = (),
    ) -> dict[str, Any]:
        """Write the files of *explanation* of the file *image*, drawn as by `Explanation.overlay`.

        *reading* is the explainer's. Returns the manifest's entry.
        """
        stem = self._stem(Path(image), explanation)
        written = explanation.save(self.staging, stem, alpha=alpha, colormap=colormap, boxes=boxes)
        entry = {
            "image": str(image),
            "target": {"index": explanation.target, "label": explanation.label},
            "words": explanation.words,
            "score": explanation.score,
            "probability": explanation.probability,
            "method": explanation.method,
            "layer": explanation.layer,
            "map": str(self.path / written["map"].name),
            "raw": str(self.path / written["raw"].name),
            "overlay": str(self.path / written["overlay"].name),
            "detection": explanation.detection,
            "box": explanation.box(),
            "boxes": explanation.boxes(),
            "parts": explanation.weights,
            "note": explanation.note,
            "warnings": list(explanation.warnings),
            "reading": {part.name: {"value": part.value, "source": part.source, "why": part.why} for part in reading},
        }
        self.entries.append(entry)
        return entry

    def add_failure(self, image: str | os.PathLike[str], error: OnnxcamError) -> dict[str, Any]:
        """Add and return the manifest's entry of the file *image*, which could not be explained because of *error*."""
        entry = {"image": str(image), "error": str(error)}
        self.entries.append(entry)
        return entry

    @property
    def explained(self) -> list[dict[str, Any]]:
        """The entries of explanations."""
        return [entry for entry in self.entries if "error" not in entry]

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The entries of images that could not be explained."""
        return [entry for entry in self.entries if "error" in entry]

    def _publish(self) -> None:
        files.write(self.staging / MANIFEST, to_json(self.entries) + "\n")
        super()._publish()

    def _stem(self, image: Path, explanation: Explanation) -> str:
        """Return the image's stem, with a number if another image of that name has the same target."""
        first = stem = image.name.removesuffix("".join(image.suffixes[-2:])) if image.suffix == ".gz" else image.stem
        count = 1
        while f"{stem}-{explanation.slug}" in self._stems:
            count += 1
            stem = f"{first}-{count}"
        self._stems.add(f"{stem}-{explanation.slug}")
        return stem
