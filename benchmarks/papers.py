"""Maps by the equations of the papers whose authors have no package, in PyTorch, as in `maps`."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from lxt_maps import HEADS, Attention, Block
from maps import Case, Row
from torch.nn import functional as F

__all__ = ["PEERS"]


class Step(NamedTuple):
    """What a block's attention computes: q, k, v and its output o [T, WIDTH] of all heads, A [heads, T, T]."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    a: torch.Tensor
    o: torch.Tensor


def attention(module: Attention, x: torch.Tensor) -> Step:
    """Return the steps of *module* for tokens [1, T, WIDTH]."""
    q, k, v = module.qkv(x)[0].chunk(3, -1)
    by_head = [y.unflatten(1, (HEADS, -1)).transpose(0, 1) for y in (q, k, v)]
    a = (by_head[0] @ by_head[1].transpose(1, 2) / by_head[0].shape[-1] ** 0.5).softmax(-1)
    return Step(q, k, v, a, (a @ by_head[2]).transpose(0, 1).flatten(1))


def steps(case: Case) -> tuple[list[Step], torch.Tensor]:
    """Return each block's attention, and the score."""
    z, found = case.x, []
    for part in case.twin():
        if isinstance(part, Block):
            found.append(attention(part.attention, part.norms[0](z)))
            z = z + part.attention.out(found[-1].o)
            z = z + part.dense(part.norms[1](z))
        else:
            z = part(z)
    return found, z[0, case.target]


def chefer(case: Case) -> np.ndarray:
    """Return R of the class token, equations 5 and 6 of 2103.15679: R ← R + mean over heads of (∂ ⊙ A)⁺ R."""
    found, score = steps(case)
    r = torch.eye(found[0].a.shape[-1])
    for step, g in zip(found, torch.autograd.grad(score, [step.a for step in found]), strict=True):
        r = r + (g * step.a).clamp(min=0).mean(0) @ r
    return at_cells(r[0, 1:])


def rollout(case: Case) -> np.ndarray:
    """Return the rollout of the class token, 2005.00928: Π (0.5 A + 0.5 1), A the mean over heads."""
    found, _ = steps(case)
    flow = torch.eye(found[0].a.shape[-1])
    for step in found:
        flow = (0.5 * step.a.mean(0) + 0.5 * torch.eye(len(flow))) @ flow
    return at_cells(flow[0, 1:])


def grad_eclip(case: Case) -> np.ndarray:
    """Return ReLU(Σ_c ∂y/∂o_c λ_j v_jc) of the last block, 2502.18816; λ is the cosine of q and k, from 0 to 1."""
    found, score = steps(case)
    (g,) = torch.autograd.grad(score, found[-1].o)
    cosine = F.cosine_similarity(found[-1].q[:1], found[-1].k[1:])
    weight = (cosine - cosine.min()) / (cosine.max() - cosine.min())
    return at_cells((weight * (found[-1].v[1:] @ g[0])).relu())


def at_cells(row: torch.Tensor) -> np.ndarray:
    """Return the numbers of the cells [H · W] as [H, W]."""
    side = round(len(row) ** 0.5)
    return row.reshape(side, side).detach().numpy()


def idgi(case: Case) -> np.ndarray:
    """Return Σ_j (y_{j+1} − y_j) g_j² / |g_j|², equation 9 of 2303.14242, over 32 steps from black."""
    points = []
    for step in range(STEPS + 1):
        x = (step / STEPS * case.x).requires_grad_()
        y = case.module(x)[0, case.target]
        points.append((y.item(), torch.autograd.grad(y, x)[0][0] ** 2))
    return sum((after - y) * g2 / g2.sum() for (y, g2), (after, _) in pairwise(points)).numpy()


STEPS = 32
PEERS: dict[str, list[Row]] = {
    "Equations of the papers": [
        Row("chefer", "2103.15679", chefer, network="class token"),
        Row("rollout", "2005.00928", rollout, network="class token"),
        Row("grad-eclip", "2502.18816", grad_eclip, network="class token"),
        Row("idgi", "2303.14242", idgi),
    ]
}
"""Who is compared with whom."""
