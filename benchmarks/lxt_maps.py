"""A small vision transformer, and its relevance by LXT, AttnLRP's own package, with the γ rule of zennit."""

from __future__ import annotations

import copy
import sys
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

PATCH, WIDTH, HEADS = 8, 32, 4


class Attention(nn.Module):
    """Self-attention; *halve* stands for LXT's rule of products, which the peer's twin has."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.halve: Any = lambda x, factor: x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [N, T, WIDTH]."""
        n, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        q, k, v = self.halve(q, 4), self.halve(k, 4), self.halve(v, 2)
        a = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)
        return self.out((a @ v).transpose(1, 2).reshape(n, t, WIDTH))


class Block(nn.Module):
    """Attention and two dense layers, each behind a normalisation and beside a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)])
        self.attention = Attention()
        self.dense = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [N, T, WIDTH]."""
        x = x + self.attention(self.norms[0](x))
        return x + self.dense(self.norms[1](x))


class Tokens(nn.Module):
    """From a picture to tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [N, T, WIDTH]."""
        return self.patches(x).flatten(2).transpose(1, 2)


class Mean(nn.Module):
    """The mean over tokens."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [N, WIDTH]."""
        return x.mean(1)


class ClassToken(nn.Module):
    """Puts the class token before the others."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [N, 1 + T, WIDTH]."""
        return torch.cat([self.token.expand(len(x), -1, -1), x], 1)


class First(nn.Module):
    """The class token."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [N, WIDTH]."""
        return x[:, 0]


def transformer(*, class_token: bool = False) -> nn.Sequential:
    """Return a vision transformer of three blocks, whose head reads the mean of tokens or the class token."""
    first = [Tokens(), ClassToken()] if class_token else [Tokens()]
    head = [nn.LayerNorm(WIDTH), First() if class_token else Mean(), nn.Linear(WIDTH, 10)]
    return nn.Sequential(*first, Block(), Block(), Block(), *head)


def relevance(module: nn.Sequential, x: torch.Tensor, target: int, gamma: float) -> np.ndarray:
    """Return LXT's relevance [H, W], LRP-γ at the patches if *gamma*."""
    for unneeded in ("lxt.efficient.models", "zennit.torchvision"):  # tied to versions of transformers and torchvision
        sys.modules.setdefault(unneeded, ModuleType(unneeded))
    sys.modules["lxt.efficient.models"].get_default_map = None  # type: ignore[attr-defined]
    from lxt.efficient import monkey_patch_zennit
    from lxt.efficient.patches import layer_norm_forward, non_linear_forward
    from lxt.efficient.rules import divide_gradient
    from zennit.composites import LayerMapComposite
    from zennit.rules import Gamma

    twin = copy.deepcopy(module)
    for part in twin.modules():
        if isinstance(part, nn.LayerNorm):
            part.forward = layer_norm_forward.__get__(part)  # type: ignore[method-assign]
        elif isinstance(part, nn.GELU):
            part.original_forward, part.forward = part.forward, non_linear_forward.__get__(part)  # type: ignore[method-assign]
        elif isinstance(part, Attention):
            part.halve = divide_gradient
    monkey_patch_zennit()
    rules = LayerMapComposite([(nn.Conv2d, Gamma(gamma))] if gamma else [])
    x = x.clone().requires_grad_()
    with rules.context(twin) as changed:
        changed(x)[0, target].backward()
    assert x.grad is not None
    return (x * x.grad).sum(1)[0].detach().numpy()
