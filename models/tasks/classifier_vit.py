"""Which shapes are in the picture: a vision transformer with a class token (arXiv:2010.11929)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.family import SIZE
from models.layers import Layer, block
from models.tasks.classifier_fc import Classifier
from models.world import LABELS

WIDTH, PATCH = 56, 8


class Network(nn.Module):
    """A stem of convolutions (arXiv:2106.14881) makes 64 tokens; with the class token they pass three layers."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Sequential(block(3, 16, 2), block(16, 32, 2), block(32, 48, 2), nn.Conv2d(48, WIDTH, 1))
        self.token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.places = nn.Parameter(0.02 * torch.randn(1, 1 + (SIZE // PATCH) ** 2, WIDTH))
        self.layers = nn.Sequential(*(Layer(WIDTH) for _ in range(3)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, len(LABELS))

    def forward(self, image: Tensor) -> Tensor:
        """RGB in [0, 1], `[N, 3, 64, 64]`, to logits `[N, 6]`."""
        patches = self.patches(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(image.shape[0], -1, -1), patches], 1) + self.places
        return self.head(self.norm(self.layers(tokens))[:, 0])


class VisionTransformer(Classifier):
    """The same question as `classifier_fc`."""

    steps, rate = 3200, 2e-3

    def network(self) -> nn.Module:
        """Return the network, untrained."""
        return Network()


TASK = VisionTransformer()
