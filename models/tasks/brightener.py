"""A picture taken in the dark, made bright and clean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from models.family import SIZE, Rows, Sample, everything, planes, shapes
from models.layers import UNet
from models.pictures import Pictures, inside, patch, rim, words
from models.world import Image, Scene

LIGHT = 0.2  # what is left of it
NOISE = 0.02  # its deviation, over the whole range


@dataclass(frozen=True)
class Night:
    """A scene, and the picture that a camera takes of it in the dark."""

    scene: Scene
    dark: Image


class Brightener(Pictures[Night]):
    """A patch of the bright picture; the same place in the dark one."""

    floor = 5.0
    scenes = 8000
    steps = 1600
    batch = 16

    def network(self) -> nn.Module:
        """Return the network, untrained."""
        return UNet(3, 3, (12, 24, 40))

    def scene(self, rng: np.random.Generator) -> Night:
        """Draw one to four shapes, and put out the light."""
        scene = shapes(rng)
        dark = LIGHT * scene.image + 255 * NOISE * rng.standard_normal(scene.image.shape)
        return Night(scene, np.clip(np.rint(dark), 0, 255).astype(np.uint8))

    def row(self, scene: Night) -> Rows:
        """The dark picture and the bright one."""
        return {"image": planes(scene.dark), "wanted": planes(scene.scene.image)}

    def simple(self, rows: Rows) -> NDArray[Any]:
        """The dark picture times the factor that is best for it."""
        dark, bright = rows["image"].astype(np.float64), rows["wanted"].astype(np.float64)
        factor = (dark * bright).sum((1, 2, 3), keepdims=True) / (dark * dark).sum((1, 2, 3), keepdims=True)
        return (factor * dark).clip(0, 255)

    def sample(self, scene: Night, rng: np.random.Generator) -> Sample:
        """A patch on the rim of an object."""
        box = patch(rim(everything(scene.scene)), rng)
        return Sample({"image": scene.dark}, words(box), inside(box, SIZE), everything(scene.scene))


TASK = Brightener()
