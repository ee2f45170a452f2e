"""Train the shapes network, measure it, export it: `python models/train_shapes.py`.

A small CNN with a pooled linear head (so that CAM applies) says which of the six shapes of `world.py` are in
a picture. It learns from those words alone, never from a mask; the masks tell afterwards whether its maps
are right. Writes `onnxcam/assets/` (network, two sample pictures, their truth) and the table of `README.md`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))
from world import LABELS, Scene, sample

HERE = Path(__file__).parent
ASSETS = HERE.parent / "onnxcam" / "assets"
TRAIN, HELD_OUT, SAMPLES = 0, 1, 2  # first word of a scene's seed; the second is its number
SIZE = 96


class Shapes(nn.Module):
    """Six 3 x 3 convolutions down to 12 x 12, the mean of each channel, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = block(3, 16, stride=2)
        self.layer1 = block(16, 32, stride=2)
        self.layer2 = block(32, 32)
        self.layer3 = block(32, 48, stride=2)
        self.layer4 = block(48, 64)
        self.layer5 = block(64, 64)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(64, len(LABELS))

    def features(self, image: Tensor) -> Tensor:
        """The last activation, `[N, 64, 12, 12]`."""
        x = self.layer2(self.layer1(self.stem(image)))
        return self.layer5(self.layer4(self.layer3(x)))

    def classify(self, features: Tensor) -> Tensor:
        """One logit a class, `[N, 6]`."""
        return self.head(self.pool(features).flatten(1))

    def forward(self, image: Tensor) -> Tensor:
        """RGB in [0, 1], `[N, 3, 96, 96]`, to logits."""
        return self.classify(self.features(image))


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


# Data


@dataclass(frozen=True)
class Data:
    """Scenes as arrays: pictures `[N, 3, H, W]`, classes present `[N, 6]`, where each is visible `[N, 6, H, W]`."""

    images: Tensor
    present: Tensor
    masks: Tensor | None


def scene(seed: int, number: int, size: int = SIZE) -> Scene:
    """The scene of this number in the series of this seed."""
    return sample(np.random.default_rng([seed, number]), size)


def render(seed: int, count: int, *, masks: bool = False) -> Data:
    """The first `count` scenes of a seed's series."""
    chunks = [(seed, range(i, min(i + 500, count)), masks) for i in range(0, count, 500)]
    with ProcessPoolExecutor(torch.get_num_threads()) as pool:
        images, present, where = zip(*pool.map(_render, chunks), strict=True)
    joined = torch.from_numpy(np.concatenate(where)) if masks else None
    return Data(torch.from_numpy(np.concatenate(images)), torch.from_numpy(np.concatenate(present)), joined)


def _render(chunk: tuple[int, range, bool]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    seed, numbers, masks = chunk
    scenes = [scene(seed, i) for i in numbers]
    images = np.stack([s.image.transpose(2, 0, 1) for s in scenes])
    present = np.float32([[label in s.labels for label in LABELS] for s in scenes])
    nowhere = np.zeros((SIZE, SIZE), bool)
    where = [[s.mask(c) if c in s.labels else nowhere for c in LABELS] for s in scenes] if masks else []
    return images, present, np.array(where)


# Training


def train(data: Data, *, epochs: int, batch: int = 64, rate: float = 4e-3, seed: int = 0) -> Shapes:
    """AdamW, one cycle, binary cross-entropy; a batch is turned and mirrored at random."""
    torch.manual_seed(seed)
    net = Shapes().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=1e-2)
    steps = len(data.images) // batch
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, epochs * steps)
    for epoch in range(epochs):
        total, start = 0.0, time.perf_counter()
        for rows in torch.randperm(len(data.images))[: steps * batch].view(steps, batch):
            loss = F.binary_cross_entropy_with_logits(net(augment(data.images[rows])), data.present[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            cycle.step()
            total += loss.item()
        print(f"epoch {epoch + 1:2}  loss {total / steps:.4f}  {time.perf_counter() - start:.0f} s", flush=True)
    return net.eval()


def augment(images: Tensor) -> Tensor:
    """Bytes to [0, 1]; one of the eight symmetries of the square, the same for a whole batch."""
    turn, mirror = torch.randint(8, ()).item() % 4, torch.rand(()) < 0.5
    images = torch.rot90(images, turn, (2, 3))
    images = images.flip(3) if mirror else images
    return images.to(memory_format=torch.channels_last).float() / 255
