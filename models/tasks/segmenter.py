"""The class of each pixel: a U-Net (arXiv:1505.04597)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from models.family import PICTURE, Rows, Run, Sample, Task, everything, planes, shapes
from models.layers import UNet
from models.world import LABELS, Scene
from onnxcam.metadata.card import Card

CLASSES = ("background", *LABELS)


class Segmenter(Task[Scene]):
    """A class where it is, or one object of it."""

    card = Card("segmentation", PICTURE, CLASSES)
    floor = 0.85
    scenes = 12_000
    steps = 3000
    batch = 32

    def network(self) -> nn.Module:
        """Return the network, untrained."""
        return UNet(3, len(CLASSES), (12, 24, 40, 56))

    def scene(self, rng: np.random.Generator) -> Scene:
        """Draw one to four shapes."""
        return shapes(rng)

    def row(self, scene: Scene) -> Rows:
        """The picture, and the class of each of its pixels."""
        classes = np.zeros(scene.image.shape[:2], np.uint8)
        for thing in scene.objects:
            classes[thing.mask] = CLASSES.index(thing.label)
        return {"image": planes(scene.image), "classes": classes}

    def loss(self, net: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy."""
        return F.cross_entropy(net(batch["image"]), batch["classes"].long())

    def figures(self, run: Run, rows: Rows) -> dict[str, float]:
        """The IoU of the classes, their mean without the ground; and the share of right pixels."""
        (logits,) = run(rows)
        return segmentation(logits.argmax(1), rows["classes"], len(CLASSES))

    def sample(self, scene: Scene, rng: np.random.Generator) -> Sample:
        """A class that is there, or every other time one object."""
        thing = scene.objects[rng.integers(len(scene.objects))]
        feeds, objects = {"image": scene.image}, everything(scene)
        if rng.random() < 0.5:
            return Sample(feeds, f"class={thing.label}", scene.mask(thing.label), objects)
        target = f"class={thing.label} mask={{mask}}"
        return Sample(feeds, target, thing.mask, objects, {"mask": np.uint8(255) * thing.mask})


def segmentation(found: np.ndarray, truth: np.ndarray, count: int) -> dict[str, float]:
    """Return the figures of a segmentation into *count* classes."""
    ious = [((found == c) & (truth == c)).sum() / ((found == c) | (truth == c)).sum() for c in range(1, count)]
    return {"mean IoU": float(np.mean(ious)), "accuracy": float((found == truth).mean())}


TASK = Segmenter()
