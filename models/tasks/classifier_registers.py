"""Which shapes are in the picture: a deeper vision transformer with registers, built as DINOv2 (arXiv:2309.16588)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.family import Rows, shapes
from models.layers import trunk, turned
from models.tasks.classifier_fc import Classifier
from models.world import LABELS, Scene
from onnxcam.metadata.card import Card

SIDE, CELL = 72, 8  # of a picture, of a patch
WIDTH, HEADS, BLOCKS, REGISTERS = 64, 4, 6, 4


class Block(nn.Module):
    """Attention from one dense layer for q, k and v, and an MLP, each scaled by channel (arXiv:2103.17239)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.qkv, self.out = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))
        self.scale1, self.scale2 = (nn.Parameter(torch.full((WIDTH,), 0.3)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """`[N, L, 64]` to the same."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.scale1 * self.out(y)
        return x + self.scale2 * self.mlp(self.norm2(x))


class Network(nn.Module):
    """Convolutions (arXiv:2106.14881) to 9 x 9 patches, six blocks; the head sees class token and mean."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = trunk(WIDTH)
        self.token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.registers = nn.Parameter(0.3 * torch.randn(1, REGISTERS, WIDTH))
        self.places = nn.Parameter(0.3 * torch.randn(1, (SIDE // CELL) ** 2, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(2 * WIDTH, len(LABELS))
        self.of_patch = nn.Linear(WIDTH, len(LABELS))  # for training alone

    def tokens(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The class token `[N, 64]` and those of the patches `[N, 81, 64]` behind the last block."""
        patches = self.patches(image).flatten(2).transpose(1, 2) + self.places
        first = torch.cat([self.token, self.registers], 1).expand(image.shape[0], -1, -1)
        x = self.norm(self.blocks(torch.cat([first, patches], 1)))
        return x[:, 0], x[:, 1 + REGISTERS :]

    def answer(self, token: Tensor, patches: Tensor) -> Tensor:
        """Return the logits `[N, 6]`."""
        return self.head(torch.cat([token, patches.mean(1)], 1))

    def forward(self, image: Tensor) -> Tensor:
        """RGB in [0, 1], `[N, 3, 72, 72]`, to logits `[N, 6]`."""
        return self.answer(*self.tokens(image))


class Registers(Classifier):
    """The same question as `classifier_fc`, in larger pictures; in training each token says what its patch holds."""

    card = Card("multi-label", f"resize={SIDE}x{SIDE},range=0-1", LABELS)
    floor, size = 0.95, 1_200_000
    scenes, steps, batch, rate = 12_000, 4800, 32, 3e-3
    network = Network

    def scene(self, rng: np.random.Generator) -> Scene:
        """Draw one to four shapes."""
        return shapes(rng, SIDE)

    def row(self, scene: Scene) -> Rows:
        """The picture, which classes are there, and how much of each patch they cover, in bytes."""
        masks = np.stack([scene.mask(label) for label in LABELS])
        cover = masks.reshape(len(LABELS), SIDE // CELL, CELL, SIDE // CELL, CELL).mean((2, 4))
        return {**super().row(scene), "cover": np.rint(255 * cover).astype(np.uint8)}

    def loss(self, net: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """Binary cross-entropy of the answer, and of each patch."""
        image, cover = turned(batch["image"], batch["cover"])
        token, patches = net.tokens(image)
        covered = cover.flatten(2).transpose(1, 2).float() / 255
        of_patches = F.binary_cross_entropy_with_logits(net.of_patch(patches), covered)
        return F.binary_cross_entropy_with_logits(net.answer(token, patches), batch["present"]) + 2 * of_patches


TASK = Registers()
