"""Layer-wise relevance propagation of one layer, written out as a matrix."""

from __future__ import annotations

import numpy as np

from tests.optional import torch

F = torch.nn.functional


def share(r, z):
    """R_y / (z + ε sign z)."""
    return r / (z + torch.where(z < 0, -1.0, 1.0) * torch.finfo(torch.float32).eps)


def as_matrix(conv, shape):
    """A convolution of one image of *shape* as a matrix [outputs, inputs], and its bias."""
    count = int(np.prod(shape))
    units = torch.eye(count, dtype=torch.float64).reshape(count, *shape)
    y = F.conv2d(units, conv.weight.double(), None, conv.stride, conv.padding)
    bias = conv.bias.double()[:, None, None].expand(y.shape[1:])
    return y.reshape(count, -1).T.detach(), bias.reshape(-1).detach()


STRENGTHS = {"gamma": 0.25, "attnlrp gamma": 0.15}  # γ


def split(x, w, b, r, how):
    """R_j = Σ_i z_ij R_i / Σ_j z_ij, the z_ij of each rule written out as a matrix [outputs, inputs]."""
    z = w * x
    if how == "flat":
        return ((w != 0) * share(r, (w != 0).sum(1))[:, None]).sum(0)
    if how == "excite":
        z, b = (w.clamp(min=0) * x.clamp(min=0)), 0
    elif how == "z+":
        z, b = z.clamp(min=0), b.clamp(min=0)
    elif how in STRENGTHS:
        up = ((z.sum(1) + b) > 0)[:, None]
        z = z + STRENGTHS[how] * torch.where(up, z.clamp(min=0), z.clamp(max=0))
        b = b + STRENGTHS[how] * torch.where(up[:, 0], b.clamp(min=0), b.clamp(max=0))
    return (z * share(r, z.sum(1) + b)[:, None]).sum(0)
