"""The class of each voxel of a volume: a small V-Net (arXiv:1606.04797)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.family import Rows, Run, Sample, Task
from models.tasks.segmenter import segmentation
from models.world3d import LABELS, Volume, sample
from onnxcam.metadata.card import Card

CLASSES = ("background", *LABELS)
WIDTHS = (6, 16, 28)


class Residual(nn.Module):
    """A convolution beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv3d(width, width, 3, padding=1, bias=False), nn.BatchNorm3d(width))
        self.act = nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, width, D, H, W]` to the same."""
        return self.act(x + self.conv(x))


class Network(nn.Module):
    """Two halvings of the side by strided convolutions and back by transposed ones, residual, with bridges."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c = WIDTHS
        self.first = nn.Sequential(nn.Conv3d(1, a, 3, padding=1), nn.PReLU(a))
        self.down1 = nn.Sequential(nn.Conv3d(a, b, 2, 2), nn.PReLU(b), Residual(b))
        self.down2 = nn.Sequential(nn.Conv3d(b, c, 2, 2), nn.PReLU(c), Residual(c), Residual(c))
        self.up2 = nn.Sequential(nn.ConvTranspose3d(c, b, 2, 2), nn.PReLU(b))
        self.join2 = nn.Sequential(nn.Conv3d(2 * b, b, 3, padding=1), nn.PReLU(b))
        self.up1 = nn.Sequential(nn.ConvTranspose3d(b, a, 2, 2), nn.PReLU(a))
        self.join1 = nn.Sequential(nn.Conv3d(2 * a, a, 3, padding=1), nn.PReLU(a))
        self.head = nn.Conv3d(a, len(CLASSES), 1)

    def forward(self, image: Tensor) -> Tensor:
        """Brightness `[N, 1, D, H, W]` to logits `[N, 5, D, H, W]`; the sides are multiples of 4."""
        first = self.first(image)
        half = self.down1(first)
        x = self.join2(torch.cat([self.up2(self.down2(half)), half], 1))
        return self.head(self.join1(torch.cat([self.up1(x), first], 1)))


class Volumes(Task[Volume]):
    """A class of solids where it is, or one solid."""

    card = Card("segmentation", labels=CLASSES)
    floor = 0.6
    scenes = 3000
    steps = 800
    batch = 6
    network = Network

    def scene(self, rng: np.random.Generator) -> Volume:
        """Draw one to three solids."""
        return sample(rng)

    def row(self, scene: Volume) -> Rows:
        """The volume, and the class of each of its voxels."""
        classes = np.zeros(scene.image.shape, np.uint8)
        for thing in scene.objects:
            classes[thing.mask] = CLASSES.index(thing.label)
        return {"image": scene.image[None], "classes": classes}

    def loss(self, net: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy and soft Dice of the classes."""
        logits, classes = net(batch["image"]), batch["classes"].long()
        truth = F.one_hot(classes, len(CLASSES)).movedim(-1, 1)
        found = logits.softmax(1)
        both, sum_ = (x.sum((0, 2, 3, 4))[1:] for x in (found * truth, found + truth))
        return F.cross_entropy(logits, classes) + (1 - (2 * both + 1) / (sum_ + 1)).mean()

    def figures(self, run: Run, rows: Rows) -> dict[str, float]:
        """The IoU of the classes, their mean without the ground; and the share of right voxels."""
        (logits,) = run(rows)
        return segmentation(logits.argmax(1), rows["classes"], len(CLASSES))

    def sample(self, scene: Volume, rng: np.random.Generator) -> Sample:
        """A class that is there, or every other time one solid."""
        thing = scene.objects[rng.integers(len(scene.objects))]
        feeds, objects = {"image": scene.image}, np.logical_or.reduce([each.mask for each in scene.objects])
        if rng.random() < 0.5:
            return Sample(feeds, f"class={thing.label}", scene.mask(thing.label), objects)
        target = f"class={thing.label} mask={{mask}}"
        return Sample(feeds, target, thing.mask, objects, {"mask": np.uint8(255) * thing.mask})


TASK = Volumes()
