"""The four ends of one shape as coordinates, by regression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.family import SIZE
from models.layers import block, trunk
from models.tasks.keypoints import KEYPOINTS, Ends


class Network(nn.Module):
    """Seven convolutions, and two linear layers of all 8 × 8 cells of 16 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(trunk(48), block(48, 48), block(48, 16))
        self.head = nn.Sequential(nn.Linear(16 * 64, 32), nn.ReLU(), nn.Linear(32, 2 * len(KEYPOINTS)))

    def forward(self, image: Tensor) -> Tensor:
        """RGB in [0, 1], `[N, 3, 64, 64]`, to x and y of each keypoint, from 0 to 1, `[N, 4, 2]`."""
        return self.head(self.body(image).flatten(1)).unflatten(1, (len(KEYPOINTS), 2))


class Landmarks(Ends):
    """Keypoints as coordinates."""

    outputs = ("keypoints",)
    scenes = 24_000
    steps = 3500
    network = Network

    def loss(self, net: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """The distance along x and along y, smooth near zero (arXiv:1504.08083)."""
        return F.smooth_l1_loss(net(batch["image"]), batch["points"] / SIZE, beta=0.02)

    def points(self, found: NDArray[Any]) -> NDArray[Any]:
        """The coordinates, in pixels."""
        return found * SIZE

    def target(self, name: str, rng: np.random.Generator) -> str:
        """Ask for the coordinate that says how far the shape goes: y of its top, x of its right end."""
        return f"keypoint={name} axis={'y' if name in ('top', 'bottom') else 'x'}"


TASK = Landmarks()
