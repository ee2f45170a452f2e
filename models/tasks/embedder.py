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
from onnxcam.metadata.card import Card

SOFTNESS = 0.2  # of the margin


class Network(nn.Module):
    """Seven convolutions, the generalised mean of each channel (arXiv:1711.02512), one linear layer, length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(trunk(48), block(48, 64), block(64, 48))
        self.head = nn.Linear(48, 32)
        self.classes = nn.Linear(32, len(LABELS))  # for training only

    def forward(self, image: Tensor) -> Tensor:
        """RGB in [0, 1], `[N, 3, 64, 64]`, to vectors `[N, 32]` of length 1."""
        means = (self.body(image) + 1e-3).pow(3).mean((2, 3)).pow(1 / 3)
        return F.normalize(self.head(means))


class Embedder(Task[Scene]):
    """What makes a picture like another one of the same shape; colour, place and turn differ."""

    card = Card("embedding", PICTURE)
    outputs = ("embedding",)
    floor = 0.85
    scenes = 12_000
    steps = 2000
    network = Network

    def scene(self, rng: np.random.Generator) -> Scene:
        """Draw one shape."""
        return shapes(rng, count=1)

    def row(self, scene: Scene) -> Rows:
        """The picture and its shape."""
        return {"image": planes(scene.image), "label": np.int64(LABELS.index(scene.objects[0].label))}

    def loss(self, net: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """All triplets of the batch, with a soft margin (arXiv:1703.07737).

        At first no triplet tells anything; a classifier of the vectors shows the way (arXiv:1903.07071).
        """
        vectors, label = net(*turned(batch["image"])), batch["label"]
        likeness = vectors @ vectors.T / SOFTNESS
        same = label[:, None] == label
        late = F.softplus(likeness[:, None, :] - likeness[:, :, None])
        late = late[(same & ~torch.eye(len(label), dtype=torch.bool))[:, :, None] & ~same[:, None, :]]
        return late.mean() + F.cross_entropy(net.classes(vectors / SOFTNESS), label)

    def figures(self, run: Run, rows: Rows) -> dict[str, float]:
        """The share of triplets in order, and of pictures whose nearest other one is of the same shape."""
        vectors, label = run(rows)[0], rows["label"]
        likeness = vectors @ vectors.T - 2 * np.eye(len(label))
        same = label[:, None] == label
        alike = same & ~np.eye(len(label), dtype=bool)
        ordered = [row[near][:, None] > row[far] for row, near, far in zip(likeness, alike, ~same, strict=True)]
        nearest = label[likeness.argmax(1)] == label
        return {
            "triplets": float(np.mean(np.concatenate([o.ravel() for o in ordered]))),
            "nearest": float(nearest.mean()),
        }

    def sample(self, scene: Scene, rng: np.random.Generator) -> Sample:
        """The likeness to another picture of the same shape."""
        other = shapes(rng, count=1)
        while other.labels != scene.labels:
            other = shapes(rng, count=1)
        truth = everything(scene)
        return Sample({"image": scene.image}, "like={like}", truth, truth, {"like": other.image})


TASK = Embedder()
