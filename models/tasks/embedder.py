"""Pictures of one object each as vectors, near where the shape is the same: trained by triplets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.family import PICTURE, Rows, Run, Sample, Task, everything, planes, shapes
from models.layers import block, trunk, turned
from models.world import LABELS, Scene
from onnxcam.card import Card

MARGIN = 0.3


class Network(nn.Module):
    """Seven convolutions, the mean of each channel, one linear layer, length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(trunk(48), block(48, 64), block(64, 48))
        self.head = nn.Linear(48, 32)

    def forward(self, image: Tensor) -> Tensor:
        """RGB in [0, 1], `[N, 3, 64, 64]`, to vectors `[N, 32]` of length 1."""
        return F.normalize(self.head(self.body(image).mean((2, 3))))


class Embedder(Task[Scene]):
    """What makes a picture like another one of the same shape; colour, place and turn differ."""

    card = Card("embedding", PICTURE)
    outputs = ("embedding",)
    floor = 0.85
    scenes = 12_000
    steps = 2500

    def network(self) -> nn.Module:
        """Return the network, untrained."""
        return Network()

    def scene(self, rng: np.random.Generator) -> Scene:
        """Draw one shape."""
        return shapes(rng, count=1)

    def row(self, scene: Scene) -> Rows:
        """The picture and its shape."""
        return {"image": planes(scene.image), "label": np.int64(LABELS.index(scene.objects[0].label))}

    def loss(self, net: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """The mean of all triplets of the batch that are not in order by the margin (arXiv:1703.07737)."""
        vectors, label = net(*turned(batch["image"])), batch["label"]
        distance = 1 - vectors @ vectors.T
        same = label[:, None] == label
        late = F.relu(distance[:, :, None] - distance[:, None, :] + MARGIN)
        late = late[(same & ~torch.eye(len(label), dtype=torch.bool))[:, :, None] & ~same[:, None, :]]
        return late.sum() / (late > 0).sum().clamp(min=1)

    def figures(self, run: Run, rows: Rows) -> dict[str, float]:
        """Whether the nearest other picture is of the same shape; whether a triplet is in order."""
        vectors, label = run(rows)[0], rows["label"]
        likeness = vectors @ vectors.T - 2 * np.eye(len(label))
        same = label[:, None] == label
        others = same & ~np.eye(len(label), dtype=bool)
        pairs = [(row[own][:, None] > row[~both]).mean() for row, own, both in zip(likeness, others, same, strict=True)]
        return {
            "nearest is alike": float((label[likeness.argmax(1)] == label).mean()),
            "triplets": float(np.mean(pairs)),
        }

    def sample(self, scene: Scene, rng: np.random.Generator) -> Sample:
        """The likeness to another picture of the same shape."""
        other = shapes(rng, count=1)
        while other.labels != scene.labels:
            other = shapes(rng, count=1)
        truth = everything(scene)
        return Sample({"image": scene.image}, "like={like}", truth, truth, {"like": other.image})


TASK = Embedder()
