"""Explanations -> a folder: overlays, maps, and manifest.json, written last."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from onnxcam.errors import OutputError
from onnxcam.explanation import Explanation

MANIFEST = "manifest.json"


class Folder:
    """A folder of results that appears whole or not at all.

    Files are staged inside it and moved into place when the ``with`` block ends well, the manifest last. When it ends
    with an error, nothing is left behind. Raises OutputError where the folder cannot be written.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.path = Path(directory)
        self.entries: list[dict[str, Any]] = []
        self._stems: set[str] = set()

    def __enter__(self) -> Folder:
        self._made = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._staging = Path(tempfile.mkdtemp(prefix=".onnxcam-", dir=self.path))
        except OSError as error:
            raise OutputError(
                f"cannot write into output folder '{self.path}': {error.strerror}; choose another with -o"
            ) from None
        return self

    def add(self, image: str | os.PathLike[str], explanation: Explanation, **drawing: Any) -> dict[str, Any]:
        """Stage the files of *explanation* of the picture *image*; return its manifest entry."""
        files = explanation.save(self._staging, self._stem(Path(image), explanation), **drawing)
        entry = {
            "image": str(image),
            "target": {"index": explanation.target, "label": explanation.label},
            "words": explanation.words,
            "score": explanation.score,
            "probability": explanation.probability,
            "method": explanation.method,
            "layer": explanation.layer,
            "map": str(self.path / files["map"].name),
            "raw": str(self.path / files["raw"].name),
            "overlay": str(self.path / files["overlay"].name),
            "detection": explanation.detection,
            "box": explanation.box(),
            "boxes": explanation.boxes(),
            "parts": explanation.weights,
            "note": explanation.note,
            "warnings": list(explanation.warnings),
        }
        self.entries.append(entry)
        return entry

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._publish()
        finally:
            shutil.rmtree(self._staging, ignore_errors=True)
            if kind is not None and self._made:
                shutil.rmtree(self.path, ignore_errors=True)

    def _publish(self) -> None:
        manifest = self._staging / MANIFEST
        try:
            manifest.write_text(json.dumps(self.entries, indent=2, ensure_ascii=False) + "\n", "utf-8")
            for file in sorted(self._staging.iterdir(), key=lambda file: file == manifest):
                os.replace(file, self.path / file.name)
        except OSError as error:
            raise OutputError(f"cannot write into output folder '{self.path}': {error.strerror}") from None

    def _stem(self, image: Path, explanation: Explanation) -> str:
        """Return the picture's stem, numbered where another picture of that name was explained alike."""
        first = stem = image.name.removesuffix("".join(image.suffixes[-2:])) if image.suffix == ".gz" else image.stem
        count = 1
        while f"{stem}-{explanation.slug}" in self._stems:
            count += 1
            stem = f"{first}-{count}"
        self._stems.add(f"{stem}-{explanation.slug}")
        return stem
