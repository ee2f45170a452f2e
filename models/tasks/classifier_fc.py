"""Which shapes are in the picture: convolutions and a fully connected head, as networks were before pooled ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from models.family import PICTURE, SIZE, Rows, Run, Sample, Task, everything, planes, shapes
from models.layers import trunk, turned
from models.world import LABELS, Scene
from onnxcam.metadata.card import Card


class Network(nn.Module):
    """Six convolutions down to 8 x 8 x 24, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(trunk(40), nn.Conv2d(40, 24, 3, padding=1), nn.ReLU())
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(24 * (SIZE // 8) ** 2, 40), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(40, len(LABELS))

    def forward(self, image: Tensor) -> Tensor:
        """RGB in [0, 1], `[N, 3, 64, 64]`, to logits `[N, 6]`."""
        return self.head(self.hidden(self.body(image)))


class Classifier(Task[Scene]):
    """Six independent logits; one class, or the contrast of two."""

    card = Card("multi-label", PICTURE, LABELS)
    floor = 0.9
    steps = 6000
    network = Network

    def scene(self, rng: np.random.Generator) -> Scene:
        """Draw one to four shapes."""
        return shapes(rng)

    def row(self, scene: Scene) -> Rows:
        """The picture, and which classes are there."""
        return {"image": planes(scene.image), "present": np.float32([label in scene.labels for label in LABELS])}

    def loss(self, net: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """Binary cross-entropy, under any turn of the picture."""
        return F.binary_cross_entropy_with_logits(net(*turned(batch["image"])), batch["present"])

    def figures(self, run: Run, rows: Rows) -> dict[str, float]:
        """The share of right decisions, and of pictures of which all are right."""
        (logits,) = run(rows)
        right = (logits > 0) == (rows["present"] > 0)
        return {"accuracy": float(right.mean()), "all six right": float(right.all(1).mean())}

    def sample(self, scene: Scene, rng: np.random.Generator) -> Sample:
        """A class that is there, every other time against another that is there too."""
        one, *others = map(str, rng.permutation(sorted(scene.labels)))
        target = f"{one}-{others[0]}" if others and rng.random() < 0.5 else one
        return Sample({"image": scene.image}, target, scene.mask(one), everything(scene))


TASK = Classifier()
