"""`Convention`: one way in which a producer writes a model, as a tiny model whose meaning is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxcam import Explainer, Explanation
from onnxcam.media.heatmap import peak

__all__ = ["SQUARE", "Box", "Convention", "picture"]

Box = tuple[float, float, float, float]
SQUARE: Box = (40, 16, 56, 32)
"""The bright square in the default image, (x1, y1, x2, y2) in pixels of 64 × 64."""


def picture(square: Box = SQUARE, size: tuple[int, int] = (64, 64)) -> NDArray[np.uint8]:
    """Return a dark image, uint8 [H, W, 3] RGB of *size* (height, width), with one bright square."""
    image = np.full((*size, 3), 20, np.uint8)
    x1, y1, x2, y2 = map(int, square)
    image[y1:y2, x1:x2] = 235
    return image


@dataclass(frozen=True)
class Convention:
    """A convention, and what a model of it means.

    Attributes:
        name: A short name, unique in the zoo: ``"yolov8-raw"``.
        producer: The exporter or tool, with its version where the convention depends on it.
        users: Who uses it: a kind of model, a family or a product.
        signature: The outputs (and metadata) in words, such as ``"output0 [N, 4 + C, 8400]"``.
        make: Makes the model.
        task: What it is, as `Task.name`: ``"a detector"``.
        parts: For parts of the reading, by name, text that the value must contain: ``{"scores": "'logits'"}``.
        files: Files beside the model, by name, such as ``preprocessor_config.json``.
        inputs: Values of further inputs, by name.
        image: The image to explain.
        square: Where its object is: the peak of the map lies there. None: not tested.
        warns: Text that one of the warnings must contain: an honest word where the meaning cannot be known.
        target: The target to explain; None is the default one.
        check: Further truths about the explainer and the explanation.
    """

    name: str
    producer: str
    users: str
    signature: str
    make: Callable[[], onnx.ModelProto]
    task: str
    parts: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    image: Callable[[], NDArray[np.uint8]] = picture
    square: Box | None = SQUARE
    warns: str = ""
    target: Any = None
    check: Callable[[Explainer, Explanation], None] | None = None

    def __str__(self) -> str:
        return self.name

    def read(self, folder: Path) -> tuple[Explainer, Explanation]:
        """Write the model and its files into *folder*, explain `image` without options, and test what is known."""
        path = folder / "model.onnx"
        onnx.save(self.make(), path)
        for name, text in self.files.items():
            (folder / name).write_text(text, "utf-8")
        explainer = Explainer(path, inputs=self.inputs)
        found = explainer(self.image(), self.target)
        assert explainer.network.task.name == self.task
        reading = {part.name: part.value for part in explainer.reading}
        for name, text in self.parts.items():
            assert text in reading[name], f"{name}: {reading[name]}"
        if self.square is not None:
            x, y = peak(found.map)
            x1, y1, x2, y2 = self.square
            assert x1 <= x < x2, f"the peak is at {x}, {y}, the square at {self.square}"
            assert y1 <= y < y2, f"the peak is at {x}, {y}, the square at {self.square}"
        assert not self.warns or any(self.warns in warning for warning in found.warnings), found.warnings
        if self.check is not None:
            self.check(explainer, found)
        return explainer, found
