"""A picture through a narrow, rounded code and back: an auto-encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.family import SIZE, Rows, Sample, everything, planes, shapes
from models.layers import block, trunk
from models.pictures import Pictures, inside, patch, rim, words
from models.world import Scene

CODE, LEVELS = 12, 4  # channels of the code, and how far from zero its integers go


class Network(nn.Module):
    """Down to 8 x 8 integers of −4 to 4 in twelve channels, and up again by transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(trunk(40), nn.Conv2d(40, CODE, 3, padding=1))
        self.decoder = nn.Sequential(
            block(CODE, 48),
            nn.ConvTranspose2d(48, 32, 2, 2),
            block(32, 32),
            nn.ConvTranspose2d(32, 24, 2, 2),
            block(24, 24),
            nn.ConvTranspose2d(24, 3, 2, 2),
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """RGB in [0, 1], `[N, 3, H, W]`, to the picture again, and its code `[N, 12, H / 8, W / 8]`.

        In training noise stands for the rounding (arXiv:1611.01704).
        """
        code = LEVELS * torch.tanh(self.encoder(image))
        code = code + torch.rand_like(code) - 0.5 if self.training else torch.round(code)
        return self.decoder(code), code


class Compressor(Pictures[Scene]):
    """A patch of the picture that comes back; the same place in the one that went in."""

    outputs = ("picture", "code")
    floor = 2.0
    scenes = 12_000
    steps = 2500
    batch = 32
    network = Network

    def scene(self, rng: np.random.Generator) -> Scene:
        """Draw one to four shapes."""
        return shapes(rng)

    def row(self, scene: Scene) -> Rows:
        """The picture, twice."""
        return {"image": planes(scene.image), "wanted": planes(scene.image)}

    def loss(self, net: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """The mean square difference."""
        return F.mse_loss(net(batch["image"])[0], batch["image"])

    def simple(self, rows: Rows) -> NDArray[Any]:
        """An eighth of the sides, and bicubic interpolation."""
        small = [
            cv2.resize(x.transpose(1, 2, 0), None, fx=1 / 8, fy=1 / 8, interpolation=cv2.INTER_AREA)
            for x in rows["image"]
        ]
        return np.stack([planes(cv2.resize(x, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)) for x in small])

    def sample(self, scene: Scene, rng: np.random.Generator) -> Sample:
        """A patch on the rim of an object."""
        box = patch(rim(everything(scene)), rng)
        return Sample({"image": scene.image}, words(box), inside(box, SIZE), everything(scene))


TASK = Compressor()
