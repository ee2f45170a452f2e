"""Demonstration: a small model that comes with onnxcam, and two sample images with known object masks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from onnxcam.explainer.explainer import Explainer
from onnxcam.explainer.explanation import Explanation
from onnxcam.media import heatmap, image

__all__ = ["PICTURES", "DemoResult", "demonstrate"]

PICTURES = ("shapes_1", "shapes_2")


@dataclass(frozen=True)
class DemoResult:
    """Explanation of a sample image; *hit* says whether its peak lies on an object of its class."""

    picture: Path
    explanation: Explanation
    hit: bool


def demonstrate(method: str = "gradcam", provider: str = "auto") -> Iterator[DemoResult]:
    """Explain two classes in each sample image."""
    assets = Path(str(resources.files("onnxcam") / "assets"))
    truth = json.loads((assets / "shapes_truth.json").read_text("utf-8"))
    explainer = Explainer(assets / "shapes.onnx", method=method, provider=provider)
    for name in PICTURES:
        picture = assets / f"{name}.png"
        objects = truth[picture.name]
        masks = image.read(assets / f"{name}_masks.png")[..., 0]
        for label in list(dict.fromkeys(entry["label"] for entry in objects))[:2]:
            explanation = explainer(picture, target=label)
            x, y = heatmap.peak(explanation.map)
            own = [k for k, entry in enumerate(objects, start=1) if entry["label"] == label]
            yield DemoResult(picture, explanation, bool(np.isin(masks[y, x], own)))
