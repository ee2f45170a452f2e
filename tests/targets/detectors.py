"""Small detectors in the layouts of the field: boxes that are known, scores that depend on the image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.optional import nn, torch

Array = NDArray[Any]
SIZE = 64
COUNT = 84  # cells of 64 x 64 pixels at strides 8, 16, 32
NAMES = ["dog", "traffic light", "cat"]
X = np.random.default_rng(0).random((1, 3, SIZE, SIZE), np.float32)

# Candidates in the tensor's pixels: (x1, y1, x2, y2), class, the score before sigmoid or softmax.
OBJECTS = [((4.0, 8.0, 28.0, 40.0), 2, 3.0), ((36.0, 12.0, 60.0, 52.0), 0, 2.0), ((5.0, 9.0, 28.0, 41.0), 2, 1.0)]


def corners(count: int) -> torch.Tensor:
    boxes = torch.tensor([[1.0, 1.0, 3.0, 3.0]]).repeat(count, 1)
    boxes[: len(OBJECTS)] = torch.tensor([box for box, *_ in OBJECTS])
    return boxes


def centred(boxes: torch.Tensor) -> torch.Tensor:
    return torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)


def logits(count: int, classes: int) -> torch.Tensor:
    scores = torch.full((count, classes), -6.0)
    for row, (_, category, score) in enumerate(OBJECTS):
        scores[row, category] = score
    return scores


class Detector(nn.Module):
    """Boxes that are known, and scores that depend on the image: each a bias and a little of a mean over space."""

    def __init__(self, count: int = COUNT, classes: int = 3, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.count, self.classes = count, classes
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.mix = nn.Linear(4, count * classes)
        self.mix.weight.data *= 0.2
        self.mix.bias.data = (logits(count, classes) if bias is None else bias).reshape(-1)

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        return self.mix(self.conv(x).relu().mean((2, 3))).reshape(-1, self.count, self.classes)

    def boxes(self, x: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        return table[None] + 0 * x.mean((1, 2, 3)).reshape(-1, 1, 1)


class YoloV8(Detector):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        boxes = self.boxes(x, centred(corners(self.count)))
        return torch.cat([boxes.transpose(1, 2), self.scores(x).sigmoid().transpose(1, 2)], 1)


class YoloV8Turned(YoloV8):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).transpose(1, 2)


class YoloV8Parts(YoloV8):
    """Boxes in parts of the image, as TFLite exports have them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        boxes = self.boxes(x, centred(corners(self.count)) / SIZE)
        return torch.cat([boxes.transpose(1, 2), self.scores(x).sigmoid().transpose(1, 2)], 1)


class YoloV8Masks(YoloV8):
    """Eight coefficients of masks behind the scores, and the masks."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = super().forward(x)
        return torch.cat([y, y[:, :1].repeat(1, 8, 1) + 5], 1), self.conv(x).repeat(1, 2, 1, 1)


class YoloV5(Detector):
    """Three boxes a cell, and objectness."""

    def __init__(self) -> None:
        super().__init__(3 * COUNT, 4, torch.cat([torch.full((3 * COUNT, 1), 2.0), logits(3 * COUNT, 3)], 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.boxes(x, centred(corners(self.count))), self.scores(x).sigmoid()], 2)


class YoloV10(Detector):
    """The best 20 of all candidates, sorted: x1, y1, x2, y2, score, class."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        best, label = self.scores(x).sigmoid().max(2)
        score, index = best.topk(20, dim=1)
        boxes = self.boxes(x, corners(self.count)).gather(1, index[..., None].repeat(1, 1, 4))
        return torch.cat([boxes, score[..., None], label.gather(1, index)[..., None].float()], 2)


class Ssd(Detector):
    """Softmax with the background first; corners in parts of the image."""

    def __init__(self) -> None:
        bias = torch.cat([torch.zeros(COUNT, 1), logits(COUNT, 3)], 1)
        bias[len(OBJECTS) :, 0] = 4
        super().__init__(COUNT, 4, bias)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.scores(x).softmax(2), self.boxes(x, corners(self.count) / SIZE)


class Detr(Detector):
    """Logits with "no object" last; centres and sizes in parts of the image."""

    def __init__(self) -> None:
        bias = torch.cat([logits(20, 3), torch.full((20, 1), 0.0)], 1)
        bias[len(OBJECTS) :, 3] = 4
        super().__init__(20, 4, bias)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.scores(x), self.boxes(x, centred(corners(self.count)) / SIZE)


class RtDetr(Detector):
    """Logits of independent classes."""

    def __init__(self) -> None:
        super().__init__(20, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.scores(x), self.boxes(x, centred(corners(self.count)) / SIZE)


class Torchvision(Detector):
    """Boxes [n, 4], labels [n], scores [n] without an axis of images."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        best, label = self.scores(x)[0].sigmoid().max(1)
        score, index = best.topk(20)
        return self.boxes(x, corners(self.count))[0][index], label[index], score


class Triple(Torchvision):
    """The same with an axis of images, labels first, as RT-DETR is exported with its last step."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        boxes, label, score = super().forward(x)
        return label[None], boxes[None], score[None]
