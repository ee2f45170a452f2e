"""Boxes around the shapes: an anchor-free detector whose output is laid out as YOLOv8's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.family import PICTURE, SIZE, Rows, Run, Sample, Task, everything, planes, shapes
from models.layers import block, trunk
from models.world import LABELS, Scene
from onnxcam.metadata.card import Card

STRIDE = 8
CELLS = (SIZE // STRIDE) ** 2
REACH = 0.75 * STRIDE  # a cell answers for an object whose middle is as near, in x and in y


class Network(nn.Module):
    """A trunk, and at each of 8 x 8 cells the distances to a box's sides and a score for each class."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.neck = trunk(48), block(48, 48)
        self.sides = nn.Sequential(block(48, 32), nn.Conv2d(32, 4, 1))
        self.classes = nn.Sequential(block(48, 32), nn.Conv2d(32, len(LABELS), 1))
        nn.init.constant_(self.classes[1].bias, -4.0)  # most cells hold nothing
        grid = STRIDE * (torch.arange(SIZE // STRIDE) + 0.5)
        self.register_buffer("centres", torch.stack(torch.meshgrid(grid, grid, indexing="xy")).flatten(1)[None])

    def raw(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes as `x1, y1, x2, y2` in pixels, `[N, 4, 64]`, and logits, `[N, 6, 64]`."""
        features = self.neck(self.trunk(image))
        near, far = (STRIDE * F.softplus(self.sides(features).flatten(2))).chunk(2, 1)
        return torch.cat([self.centres - near, self.centres + far], 1), self.classes(features).flatten(2)

    def forward(self, image: Tensor) -> Tensor:
        """RGB in [0, 1], `[N, 3, 64, 64]`, to `cx, cy, w, h` in pixels and the scores, `[N, 4 + 6, 64]`."""
        boxes, logits = self.raw(image)
        first, last = boxes.chunk(2, 1)
        return torch.cat([(first + last) / 2, last - first, logits.sigmoid()], 1)


class Detector(Task[Scene]):
    """An object, by its box and its class."""

    card = Card("detection", PICTURE, LABELS)
    outputs = ("detections",)
    floor = 0.9
    steps = 5000
    network = Network

    def scene(self, rng: np.random.Generator) -> Scene:
        """Draw one to four shapes."""
        return shapes(rng)

    def row(self, scene: Scene) -> Rows:
        """The picture, the objects (class −1 where there is none), and for each cell which of them it answers for."""
        boxes, classes = np.zeros((4, 4), np.float32), np.full(4, -1)
        owner = np.full(CELLS, -1)
        centre = STRIDE * (np.arange(SIZE // STRIDE) + 0.5)
        cells = np.stack(np.meshgrid(centre, centre), 2).reshape(-1, 2)
        for k, thing in enumerate(scene.objects):
            boxes[k], classes[k] = thing.box, LABELS.index(thing.label)
            owner[np.abs(cells - (boxes[k, :2] + boxes[k, 2:]) / 2).max(1) < REACH] = k
        return {"image": planes(scene.image), "boxes": boxes, "classes": classes, "owner": owner}

    def loss(self, net: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """Focal loss of the classes (arXiv:1708.02002), GIoU of the boxes (arXiv:1902.09630), by answering cell."""
        boxes, logits = net.raw(batch["image"])
        owned = batch["owner"] >= 0
        own = batch["owner"].clamp(min=0)
        label = F.one_hot(batch["classes"].gather(1, own).clamp(min=0), len(LABELS)) * owned[..., None]
        wanted = batch["boxes"].gather(1, own[..., None].expand(-1, -1, 4))
        apart = 1 - _giou(boxes.transpose(1, 2)[owned], wanted[owned])
        return _focal(logits.transpose(1, 2), label.float()).sum() / owned.sum() + 2 * apart.mean()

    def figures(self, run: Run, rows: Rows) -> dict[str, float]:
        """The mean average precision at an IoU of a half."""
        (found,) = run(rows)
        precisions = [_average_precision(found, rows, label) for label in range(len(LABELS))]
        return {"mAP at IoU 0.5": float(np.nanmean(precisions))}

    def sample(self, scene: Scene, rng: np.random.Generator) -> Sample:
        """One of the objects."""
        thing = scene.objects[rng.integers(len(scene.objects))]
        target = f"box={','.join(map(str, thing.box))} class={thing.label}"
        return Sample({"image": scene.image}, target, thing.mask, everything(scene))


def _focal(logits: Tensor, truth: Tensor) -> Tensor:
    wrong = (logits.sigmoid() - truth).abs()
    weight = 0.25 * truth + 0.75 * (1 - truth)
    return weight * wrong.square() * F.binary_cross_entropy_with_logits(logits, truth, reduction="none")


def _giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised overlap of boxes `[K, 4]`."""
    area = [(x[:, 2:] - x[:, :2]).prod(1) for x in (a, b)]
    both = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    around = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
    union = area[0] + area[1] - both
    return both / union - (around - union) / around


def overlap(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """IoU of each box `[K, 4]` with one box."""
    both = (np.minimum(a[:, 2:], b[2:]) - np.maximum(a[:, :2], b[:2])).clip(0).prod(1)
    return both / ((a[:, 2:] - a[:, :2]).prod(1) + (b[2:] - b[:2]).prod() - both)


def _average_precision(found: NDArray[Any], rows: Rows, label: int) -> float:
    """Area under precision over recall of one class, after non-maximum suppression; NaN if it is nowhere."""
    ranked: list[tuple[float, bool]] = []
    for k, each in enumerate(found):
        size, scores = each[2:4].T, each[4 + label]
        first = each[:2].T - size / 2
        truths = list(rows["boxes"][k][rows["classes"][k] == label])
        kept = cv2.dnn.NMSBoxes(np.concatenate([first, size], 1).tolist(), scores.tolist(), 0.05, 0.5)
        for i in np.array(kept, int).ravel():
            box = np.concatenate([first[i], first[i] + size[i]])
            ious = overlap(np.array(truths), box) if truths else np.zeros(1)
            hit = bool(ious.max() >= 0.5)
            if hit:
                truths.pop(int(ious.argmax()))
            ranked.append((float(scores[i]), hit))
    total = int((rows["classes"] == label).sum())
    if total == 0:
        return float("nan")
    hits = np.array([hit for _, hit in sorted(ranked, key=lambda pair: -pair[0])], float)
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    return float((np.maximum.accumulate(precision[::-1])[::-1] * hits).sum() / total)


TASK = Detector()
