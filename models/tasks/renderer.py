"""The view of a scene that is turned: a spatial transformer (arXiv:1506.02025) between two small CNNs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.family import PICTURE, SIZE, Rows, Sample, everything, planes, shapes
from models.layers import block
from models.pictures import PATCH, Pictures, inside, patch, rim, words
from models.world import Image, Scene
from onnxcam.metadata.card import Card

WINDOW = np.hypot(*(np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2)) < SIZE / 2 - 1


@dataclass(frozen=True)
class Turned:
    """A scene, seen through a round window, and by which angle it is turned."""

    scene: Scene
    angle: float  # radians, clockwise

    @property
    def pose(self) -> NDArray[np.float32]:
        """Sine and cosine."""
        return np.float32([np.sin(self.angle), np.cos(self.angle)])

    @property
    def view(self) -> Image:
        """The scene as it is."""
        return self.scene.image * WINDOW[..., None]

    @property
    def wanted(self) -> Image:
        """The scene as it is turned."""
        return turn(self.scene.image, self.angle) * WINDOW[..., None]


class Network(nn.Module):
    """Features of the view; a map of the plane that is linear in the pose; the picture of what it brings where."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(block(3, 16), block(16, 16))
        self.map = nn.Linear(2, 6)
        nn.init.zeros_(self.map.weight)
        nn.init.zeros_(self.map.bias)
        self.map.bias.data[[0, 4]] = 1.0
        self.decoder = nn.Sequential(block(16, 24), block(24, 16), nn.Conv2d(16, 3, 3, padding=1))

    def forward(self, image: Tensor, pose: Tensor) -> Tensor:
        """RGB in [0, 1], `[N, 3, 64, 64]`, and sine and cosine of the angle, `[N, 2]`, to RGB `[N, 3, 64, 64]`."""
        features = self.encoder(image)
        grid = F.affine_grid(self.map(pose).unflatten(1, (2, 3)), features.shape, align_corners=False)
        return self.decoder(F.grid_sample(features, grid, align_corners=False))


class Renderer(Pictures[Turned]):
    """A patch of the new view; where it was before the turn."""

    card = Card("image", PICTURE)
    inputs = ("image", "pose")
    dynamic = "batch"
    floor = 9.0
    scenes = 8000
    steps = 1000
    batch = 16
    network = Network

    def scene(self, rng: np.random.Generator) -> Turned:
        """Draw one to four shapes, and an angle."""
        return Turned(shapes(rng), float(rng.uniform(-np.pi, np.pi)))

    def row(self, scene: Turned) -> Rows:
        """The view, the pose, and the new view."""
        return {"image": planes(scene.view), "pose": scene.pose, "wanted": planes(scene.wanted)}

    def loss(self, net: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """The mean absolute difference; and the map's from the turn, which it does not find by itself."""
        sin, cos = batch["pose"].T
        turned = torch.stack([cos, sin, 0 * sin, -sin, cos, 0 * sin], 1)
        return super().loss(net, batch) + F.mse_loss(net.map(batch["pose"]), turned)

    def simple(self, rows: Rows) -> NDArray[Any]:
        """The view as it was."""
        return rows["image"]

    def sample(self, scene: Turned, rng: np.random.Generator) -> Sample | None:
        """A patch on the rim of an object, well inside the window."""
        objects = everything(scene.scene) & WINDOW
        middle = cv2.erode(WINDOW.astype(np.uint8), np.ones((PATCH, PATCH))).astype(bool)
        there = rim(turn(np.uint8(255) * objects, scene.angle) > 127) & middle
        if not there.any():
            return None
        box = patch(there, rng)
        truth = turn(np.uint8(255) * inside(box, SIZE), -scene.angle) > 127
        feeds = {"image": scene.view, "pose": scene.pose.tolist()}
        return Sample(feeds, words(box), truth, objects)


def turn(plane: NDArray[np.uint8], angle: float) -> NDArray[np.uint8]:
    """Return a picture or mask `[64, 64, …]` turned clockwise around its middle."""
    middle = (SIZE - 1) / 2
    return cv2.warpAffine(plane, cv2.getRotationMatrix2D((middle, middle), -np.degrees(angle), 1.0), (SIZE, SIZE))


TASK = Renderer()
