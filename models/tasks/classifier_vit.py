"""Which shapes are in the picture: a vision transformer with a class token (arXiv:2010.11929)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.family import SIZE, Rows
from models.layers import Layer, trunk, turned
from models.tasks.classifier_fc import Classifier
from models.world import LABELS, Scene

WIDTH, PATCH = 48, 8


class Network(nn.Module):
    """The hybrid of that paper: a CNN's 8 x 8 cells are the tokens; with the class token they pass three layers."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = trunk(WIDTH)
        self.token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.places = nn.Parameter(0.3 * torch.randn(1, 1 + (SIZE // PATCH) ** 2, WIDTH))
        self.layers = nn.Sequential(*(Layer(WIDTH) for _ in range(3)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, len(LABELS))

    def tokens(self, image: Tensor) -> Tensor:
        """The last layer's tokens, `[N, 65, 48]`."""
        patches = self.patches(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(image.shape[0], -1, -1), patches], 1) + self.places
        return self.norm(self.layers(tokens))

    def forward(self, image: Tensor) -> Tensor:
        """RGB in [0, 1], `[N, 3, 64, 64]`, to logits `[N, 6]`."""
        return self.head(self.tokens(image)[:, 0])


class VisionTransformer(Classifier):
    """The same question as `classifier_fc`; in training each token says what its patch holds (arXiv:2104.10858)."""

    steps, rate = 3000, 3e-3
    network = Network

    def row(self, scene: Scene) -> Rows:
        """The picture, which classes are there, and how much of each patch they cover, in bytes."""
        masks = np.stack([scene.mask(label) for label in LABELS])
        cover = masks.reshape(len(LABELS), SIZE // PATCH, PATCH, SIZE // PATCH, PATCH).mean((2, 4))
        return {**super().row(scene), "cover": np.rint(255 * cover).astype(np.uint8)}

    def loss(self, net: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """Binary cross-entropy of the class token, and of the others."""
        image, cover = turned(batch["image"], batch["cover"])
        logits = net.head(net.tokens(image)).transpose(0, 1)
        patches = cover.flatten(2).permute(2, 0, 1).float() / 255
        of_patches = F.binary_cross_entropy_with_logits(logits[1:], patches)
        return F.binary_cross_entropy_with_logits(logits[0], batch["present"]) + 2 * of_patches


TASK = VisionTransformer()
