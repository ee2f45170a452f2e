"""The parts that several networks are made of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


def trunk(width: int = 48) -> nn.Sequential:
    """Five convolutions: RGB `[N, 3, H, W]` to features `[N, width, H / 8, W / 8]`."""
    return nn.Sequential(block(3, 16, 2), block(16, 32, 2), block(32, 32), block(32, width, 2), block(width, width))


class UNet(nn.Module):
    """A U-Net (arXiv:1505.04597): the side is halved and doubled as often as there are further widths, with bridges."""

    def __init__(self, inputs: int, outputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        pairs = list(pairwise(widths))
        self.first = block(inputs, widths[0])
        self.down = nn.ModuleList(nn.Sequential(block(a, b, 2), block(b, b)) for a, b in pairs[:-1])
        self.bottom = block(*pairs[-1], 2)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in reversed(pairs))
        self.join = nn.ModuleList(block(2 * a, a) for a, _ in reversed(pairs))
        self.head = nn.Conv2d(widths[0], outputs, 1)

    def forward(self, image: Tensor) -> Tensor:
        """`[N, inputs, H, W]` to `[N, outputs, H, W]`; the sides are multiples of what the halvings need."""
        bridges = [self.first(image)]
        for down in self.down:
            bridges.append(down(bridges[-1]))
        x = self.bottom(bridges[-1])
        for up, join in zip(self.up, self.join, strict=True):
            x = join(torch.cat([up(x), bridges.pop()], 1))
        return self.head(x)


class Attention(nn.Module):
    """Attention of several heads (arXiv:1706.03762) of `x` `[N, L, width]` to itself or to `memory` `[N, M, width]`."""

    def __init__(self, width: int, heads: int = 4, *, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.query, self.pair = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """Return `[N, L, width]`."""
        key, value = self.pair(x if memory is None else memory).chunk(2, 2)
        q, k, v = (y.unflatten(2, (self.heads, -1)).transpose(1, 2) for y in (self.query(x), key, value))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(y.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """A transformer's layer, norms first; with `cross` it also attends to a memory."""

    def __init__(self, width: int, *, causal: bool = False, cross: bool = False) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, causal=causal)
        self.norm2, self.cross = (nn.LayerNorm(width), Attention(width)) if cross else (None, None)
        self.norm3 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """`[N, L, width]` to the same, with `memory` `[N, M, width]`."""
        x = x + self.attention(self.norm1(x))
        if self.cross is not None:
            x = x + self.cross(self.norm2(x), memory)
        return x + self.mlp(self.norm3(x))


def turned(*batches: Tensor) -> list[Tensor]:
    """Put all under the same one of the square's eight symmetries, drawn anew for each call."""
    turn, mirror = int(torch.randint(4, ())), bool(torch.randint(2, ()))
    batches = tuple(torch.rot90(b, turn, (2, 3)) for b in batches)
    return [b.flip(3) if mirror else b for b in batches]
