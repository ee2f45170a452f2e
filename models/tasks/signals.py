"""Events among heartbeats: a convolutional network along time, [N, 1, T]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from models.family import Rows, Run, Sample, Task
from models.world1d import EVENTS, RATE, Trace, trace
from onnxcam.metadata.card import Card

WIDTHS = (16, 32, 48, 64)


def block(before: int, width: int) -> nn.Sequential:
    """A convolution that halves the length."""
    conv = nn.Conv1d(before, width, 7, stride=2, padding=3, bias=False)
    return nn.Sequential(conv, nn.BatchNorm1d(width), nn.ReLU())


class Network(nn.Module):
    """Four convolutions, each halving the length, two more, the mean over time, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        pairs = zip((1, *WIDTHS[:-1]), WIDTHS, strict=True)
        self.body = nn.Sequential(*(block(*pair) for pair in pairs))
        last = [nn.Conv1d(WIDTHS[-1], WIDTHS[-1], 5, padding=2), nn.ReLU()]
        self.last = nn.Sequential(*last, nn.Conv1d(WIDTHS[-1], WIDTHS[-1], 3, padding=1), nn.ReLU())
        self.head = nn.Linear(WIDTHS[-1], len(EVENTS))

    def forward(self, image: Tensor) -> Tensor:
        """Trace `[N, 1, T]` to logits `[N, 4]`."""
        return self.head(self.last(self.body(image)).mean(-1))


class Signals(Task[Trace]):
    """Which events are in a trace."""

    card = Card("multi-label", preprocess="raw", labels=EVENTS, rate=RATE)
    floor = 0.95
    scenes = 6000
    steps = 500
    network = Network

    def scene(self, rng: np.random.Generator) -> Trace:
        """Draw heartbeats with one or two events."""
        return trace(rng)

    def row(self, scene: Trace) -> Rows:
        """The trace, and which classes are in it."""
        there = {one.label for one in scene.events}
        return {"image": scene.values[None], "there": np.float32([name in there for name in EVENTS])}

    def loss(self, net: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """Binary cross-entropy."""
        return F.binary_cross_entropy_with_logits(net(batch["image"]), batch["there"])

    def figures(self, run: Run, rows: Rows) -> dict[str, float]:
        """The share of right answers, and of traces with all of them right."""
        (logits,) = run(rows)
        right = (logits > 0) == (rows["there"] > 0)
        return {"accuracy": float(right.mean()), "all four right": float(right.all(axis=1).mean())}

    def sample(self, scene: Trace, rng: np.random.Generator) -> Sample | None:
        """One of the events."""
        if not scene.events:
            return None
        one = scene.events[rng.integers(len(scene.events))]
        objects = np.logical_or.reduce([each.mask(len(scene.values)) for each in scene.events])
        return Sample({"image": scene.values}, one.label, scene.mask(one.label), objects)


TASK = Signals()
