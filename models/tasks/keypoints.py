"""The four ends of one shape with corners (extreme points, arXiv:1901.08043), as the peaks of heat maps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.family import PICTURE, SIZE, Rows, Run, Sample, Task, everything, planes, shapes
from models.layers import block, trunk
from models.world import Mask, Scene
from onnxcam.metadata.card import Card

KEYPOINTS = ("top", "right", "bottom", "left")
CELL = 4  # pixels of a heat map's cell
CELLS = SIZE // CELL
RADIUS = 6  # pixels around a keypoint where its evidence must lie
WIDTH = 1.0  # standard deviation of the bell around a keypoint, in cells
FLAT = 6  # pixels; an end that is wider is an edge, not a corner

Points = NDArray[np.float32]


def ends(mask: Mask) -> Points:
    """Return x and y of the outermost pixels of a shape, `[4, 2]`, in the order of `KEYPOINTS`."""
    return np.float32([tips.mean(0) + 0.5 for tips in _tips(mask)])


def _tips(mask: Mask) -> list[NDArray[Any]]:
    """Return for each keypoint x and y of the pixels that lie farthest out."""
    points = np.argwhere(mask)[:, ::-1]
    return [points[far == far.max()] for far in (-points[:, 1], points[:, 0], points[:, 1], -points[:, 0])]


def around(point: Points, size: int = SIZE) -> Mask:
    """Return the circle of `RADIUS` around a keypoint."""
    y, x = np.mgrid[:size, :size] + 0.5
    return np.hypot(x - point[0], y - point[1]) <= RADIUS


class Ends(Task[Scene]):
    """Where one shape ends at the top, on the right, at the bottom and on the left."""

    card = Card("keypoints", PICTURE, KEYPOINTS)
    floor = 0.8
    scenes = 12_000
    steps = 2500

    def scene(self, rng: np.random.Generator) -> Scene:
        """Draw one shape whose ends are corners."""
        while True:
            scene = shapes(rng, count=1)
            tips = _tips(scene.objects[0].mask)
            if max(int(np.ptp(each, axis=0).max()) for each in tips) < FLAT and not _is_round(scene):
                return scene

    def row(self, scene: Scene) -> Rows:
        """The picture, and x and y of each keypoint in pixels."""
        return {"image": planes(scene.image), "points": ends(scene.objects[0].mask)}

    @abstractmethod
    def points(self, found: NDArray[Any]) -> NDArray[Any]:
        """Return x and y of each keypoint in pixels, `[N, 4, 2]`, of what the network gives."""

    def figures(self, run: Run, rows: Rows) -> dict[str, float]:
        """The shares of keypoints within the radius and within a cell of the truth, and the mean distance."""
        apart = np.linalg.norm(self.points(run(rows)[0]) - rows["points"], axis=2)
        shares = {f"within {limit} pixels": float((apart <= limit).mean()) for limit in (RADIUS, CELL)}
        return {**shares, "pixels off": float(apart.mean())}

    def target(self, name: str, rng: np.random.Generator) -> str:
        """Return the words that ask for a keypoint."""
        return f"keypoint={name}"

    def sample(self, scene: Scene, rng: np.random.Generator) -> Sample:
        """One of the keypoints."""
        index = int(rng.integers(len(KEYPOINTS)))
        truth = around(ends(scene.objects[0].mask)[index])
        return Sample({"image": scene.image}, self.target(KEYPOINTS[index], rng), truth, everything(scene))


def _is_round(scene: Scene) -> bool:
    return scene.objects[0].label in ("circle", "ring")


class Network(nn.Module):
    """A trunk to 8 × 8 cells, enlarged and joined with its 16 × 16 cells; a heat map for each keypoint."""

    def __init__(self) -> None:
        super().__init__()
        blocks = trunk(48)
        self.fine, self.coarse = blocks[:3], nn.Sequential(blocks[3:], block(48, 48))
        self.join = nn.Sequential(block(32 + 48, 40), block(40, 32))
        self.peaks = nn.Conv2d(32, len(KEYPOINTS), 1)
        nn.init.constant_(self.peaks.bias, -3.0)  # most cells are no keypoint

    def logits(self, image: Tensor) -> Tensor:
        """RGB in [0, 1], `[N, 3, 64, 64]`, to `[N, 4, 16, 16]`."""
        fine = self.fine(image)
        coarse = F.interpolate(self.coarse(fine), scale_factor=2.0, mode="nearest")
        return self.peaks(self.join(torch.cat([fine, coarse], 1)))

    def forward(self, image: Tensor) -> Tensor:
        """RGB in [0, 1], `[N, 3, 64, 64]`, to how likely each cell is the keypoint, `[N, 4, 16, 16]`."""
        return self.logits(image).sigmoid()


class HeatMaps(Ends):
    """Keypoints as the peaks of heat maps."""

    outputs = ("heatmaps",)
    network = Network

    def loss(self, net: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """Binary cross-entropy with a bell around each keypoint."""
        cells = (batch["points"] / CELL)[:, :, None, None]
        y, x = torch.meshgrid(torch.arange(CELLS) + 0.5, torch.arange(CELLS) + 0.5, indexing="ij")
        apart = (x - cells[..., 0]).square() + (y - cells[..., 1]).square()
        bell = (-apart / (2 * WIDTH**2)).exp()
        return F.binary_cross_entropy_with_logits(net.logits(batch["image"]), bell) * 10

    def points(self, found: NDArray[Any]) -> NDArray[Any]:
        """The centre of the highest cell, moved by a quarter cell towards the higher neighbour (arXiv:1603.06937)."""
        peak = found.reshape(*found.shape[:2], -1).argmax(2)
        y, x = np.divmod(peak, CELLS)
        padded = np.pad(found, ((0, 0), (0, 0), (1, 1), (1, 1)))
        n, k = np.indices(peak.shape)
        right = np.sign(padded[n, k, y + 1, x + 2] - padded[n, k, y + 1, x])
        down = np.sign(padded[n, k, y + 2, x + 1] - padded[n, k, y, x + 1])
        return CELL * np.stack([x + 0.5 + right / 4, y + 0.5 + down / 4], 2)


TASK = HeatMaps()
