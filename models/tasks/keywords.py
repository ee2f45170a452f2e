"""Words in features of sound, [N, 49, 10, 1]: a network of separable convolutions (DS-CNN, arXiv:1711.07128)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from models.family import Rows, Run, Sample, Task
from models.world1d import FRAME_RATE, WORDS, Trace, word
from onnxcam.metadata.card import Card

WIDTH = 48


class Network(nn.Module):
    """A convolution of 10 x 4 with step 2, four depthwise separable ones, the mean, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        first = [nn.Conv2d(1, WIDTH, (10, 4), stride=2, padding=(5, 1), bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU()]
        self.body = nn.Sequential(*first, *(layer for _ in range(4) for layer in self._separable()))
        self.head = nn.Linear(WIDTH, len(WORDS))

    def _separable(self) -> list[nn.Module]:
        depthwise = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH, bias=False)
        pointwise = nn.Conv2d(WIDTH, WIDTH, 1, bias=False)
        return [depthwise, nn.BatchNorm2d(WIDTH), nn.ReLU(), pointwise, nn.BatchNorm2d(WIDTH), nn.ReLU()]

    def forward(self, image: Tensor) -> Tensor:
        """Features `[N, 49, 10, 1]` to logits `[N, 4]`."""
        return self.head(self.body(image.permute(0, 3, 1, 2)).mean((2, 3)))


class Keywords(Task[Trace]):
    """Which word is said."""

    card = Card("multi-class", preprocess="raw", labels=WORDS, rate=FRAME_RATE)
    floor = 0.95
    scenes = 6000
    steps = 500
    network = Network

    def scene(self, rng: np.random.Generator) -> Trace:
        """Draw a word."""
        return word(rng)

    def row(self, scene: Trace) -> Rows:
        """The features, and the index of the word."""
        return {"image": scene.values[..., None], "word": np.int64(WORDS.index(scene.events[0].label))}

    def loss(self, net: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy."""
        return F.cross_entropy(net(batch["image"]), batch["word"])

    def figures(self, run: Run, rows: Rows) -> dict[str, float]:
        """The share of right words."""
        (logits,) = run(rows)
        return {"right": float((logits.argmax(1) == rows["word"]).mean())}

    def sample(self, scene: Trace, rng: np.random.Generator) -> Sample:
        """The word."""
        (one,) = scene.events
        truth = np.repeat(scene.mask(one.label)[:, None], scene.values.shape[1], 1)
        return Sample({"image": scene.values}, one.label, truth, truth)


TASK = Keywords()
