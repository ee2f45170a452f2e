"""Twice the sides: a grey picture, enlarged by learned pixels (ESPCN, arXiv:1609.05158) on top of the bilinear ones."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.family import SIZE, Rows, Sample, everything, planes, shapes
from models.pictures import Pictures, inside, patch, rim, words
from models.world import Image, Mask, Scene


class Network(nn.Module):
    """Five convolutions at the small size; the last gives four pixels for each."""

    def __init__(self) -> None:
        super().__init__()
        inner = [layer for _ in range(3) for layer in (nn.Conv2d(32, 32, 3, padding=1), nn.ReLU())]
        self.body = nn.Sequential(nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), *inner, nn.Conv2d(32, 4, 3, padding=1))
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, image: Tensor) -> Tensor:
        """Grey in [0, 1], `[N, 1, H, W]`, to `[N, 1, 2 H, 2 W]`."""
        return F.interpolate(image, scale_factor=2.0, mode="bilinear") + self.shuffle(self.body(image))


class Upscaler(Pictures[Scene]):
    """A patch of the large picture; the same place in the small one."""

    floor = 3.0
    scenes = 8000
    steps = 2000
    batch = 32
    rate = 2e-3
    network = Network

    def scene(self, rng: np.random.Generator) -> Scene:
        """Draw one to four shapes, at the large size."""
        return shapes(rng)

    def row(self, scene: Scene) -> Rows:
        """The small picture and the large one."""
        return {"image": planes(_small(_grey(scene))), "wanted": planes(_grey(scene))}

    def simple(self, rows: Rows) -> NDArray[Any]:
        """Bicubic interpolation."""
        return np.stack([planes(cv2.resize(x[0], (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)) for x in rows["image"]])

    def sample(self, scene: Scene, rng: np.random.Generator) -> Sample:
        """A patch on the rim of an object."""
        box = patch(rim(everything(scene)), rng)
        truth, objects = (_halved(mask) for mask in (inside(box, SIZE), everything(scene)))
        return Sample({"image": _small(_grey(scene))}, words(box), truth, objects)


def _grey(scene: Scene) -> Image:
    return cv2.cvtColor(scene.image, cv2.COLOR_RGB2GRAY)


def _small(image: Image) -> Image:
    return cv2.resize(image, (SIZE // 2, SIZE // 2), interpolation=cv2.INTER_AREA)


def _halved(mask: Mask) -> Mask:
    """Where any of four pixels is."""
    return mask.reshape(SIZE // 2, 2, SIZE // 2, 2).any((1, 3))


TASK = Upscaler()
