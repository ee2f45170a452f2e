"""What the networks from picture to picture have in common: their loss, their figures, patches to ask about."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from models.family import Rows, Run, S, Task
from models.world import Mask
from onnxcam.metadata.card import Card

PATCH = 12  # side, in pixels of the output


class Pictures(Task[S]):
    """A picture in [0, 1] to another one; a row holds what is `wanted`, in bytes."""

    card: ClassVar[Card] = Card("image", "resize=none,range=0-1")
    outputs = ("picture",)
    dynamic = "size"

    @abstractmethod
    def simple(self, rows: Rows) -> NDArray[Any]:
        """Return what can be had without a network, bytes, as large as what is wanted."""

    def loss(self, net: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """The mean absolute difference."""
        return F.l1_loss(net(*(batch[name] for name in self.inputs)), batch["wanted"].float() / 255)

    def figures(self, run: Run, rows: Rows) -> dict[str, float]:
        """How many decibels are gained over the simple way, and the ratio of signal to noise."""
        ratio = _psnr(255 * run(rows)[0].clip(0, 1), rows["wanted"])
        return {"dB gained": ratio - _psnr(self.simple(rows), rows["wanted"]), "PSNR": ratio}


def _psnr(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    error = np.square(found.astype(np.float64) - wanted).mean((1, 2, 3)).clip(1e-3)
    return float((10 * np.log10(255**2 / error)).mean())


def rim(mask: Mask) -> Mask:
    """Return the pixels of *mask* that have a neighbour outside it."""
    return mask & ~cv2.erode(mask.astype(np.uint8), np.ones((3, 3)), borderValue=1).astype(bool)


def patch(middles: Mask, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Return a square around one of the pixels *middles*, as far as the picture's edge lets it."""
    height, width = middles.shape
    y, x = rng.choice(np.argwhere(middles))
    x1, y1 = int(np.clip(x - PATCH // 2, 0, width - PATCH)), int(np.clip(y - PATCH // 2, 0, height - PATCH))
    return x1, y1, x1 + PATCH, y1 + PATCH


def words(box: tuple[int, int, int, int]) -> str:
    """Return the target that a patch is."""
    return f"patch={','.join(map(str, box))}"


def inside(box: tuple[int, int, int, int], size: int) -> Mask:
    """Return a square mask with a box in it."""
    mask = np.zeros((size, size), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask
