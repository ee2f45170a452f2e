"""Slow replicas of integrated gradients' kin, of Sobol indices and of concepts, written from their papers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tests.methods.replica_networks import input_gradient, score
from tests.optional import torch


def guided_ig(net, x, target):
    """Algorithm 1 of the paper: the way of each of the 675 values is a list of its places."""
    x = x.double().numpy().ravel()
    place, total = np.full(len(x), 0.5), np.zeros(len(x))
    for step in range(1, 8):
        point = torch.from_numpy(place.reshape(1, 3, 15, 15)).float()
        g = input_gradient(net, point, target, "gradient").double().numpy().ravel()
        slowest, fastest = (0.5 + np.clip(step / 7 + d, 0, 1) * (x - 0.5) for d in (-0.3, 0.3))
        behind = np.abs(place - x) > np.abs(slowest - x)
        after = np.where(behind, slowest, place)
        aim = np.abs(x - 0.5).sum() * (1 - step / 7)
        moved = np.zeros(len(x), bool)  # as far as they may
        while (left := np.abs(x - after).sum() - aim) > 1e-7:
            moved |= np.isclose(after, fastest, rtol=0, atol=1e-12)
            order = np.sort(np.where(moved, np.inf, np.abs(g)))
            chosen = ~moved & (np.abs(g) <= order[int(0.1 * (len(x) - 1))])
            room = np.abs(fastest - after)[chosen].sum()
            after[chosen] += min(1, left / room) * (fastest - after)[chosen]
        total += g * (after - place)
        place = after
    return torch.from_numpy(total.reshape(1, 3, 15, 15)).float()


def idgi(net, x, target):
    """Algorithm 1 of the paper."""
    points = [0.5 + step / 6 * (x - 0.5) for step in range(7)]
    total = 0
    for start, end in pairwise(points):
        g = input_gradient(net, start, target, "gradient")
        d = score(net, end, target) - score(net, start, target)
        total = total + g * g * d / (g * g).sum()
    return total


def xrai(net, x, target):
    """Algorithm 1 of the paper, with masks as sets of pixels."""
    segmentation = pytest.importorskip("skimage.segmentation")
    transform, morphology = pytest.importorskip("skimage.transform"), pytest.importorskip("skimage.morphology")
    low, high, a = float(x.min()), float(x.max()), 0
    for b in (low, high):
        points = [b + (step + 0.5) / 4 * (x - b) for step in range(4)]
        a = a + (x - b) * sum(input_gradient(net, point, target, "gradient") for point in points) / 8
    a = a[0].amax(0).double().numpy()
    image = 2 * (x[0].permute(1, 2, 0).double().numpy() - low) / (high - low) - 1
    image = transform.resize(image, (96, 96), order=3, mode="constant", anti_aliasing=True, preserve_range=True)
    regions = []
    for scale in (50, 100, 150, 250, 500, 1200):
        cells = segmentation.felzenszwalb(image, scale=scale, sigma=0.8, min_size=150)
        cells = transform.resize(cells, (15, 15), order=0, mode="constant", anti_aliasing=False, preserve_range=True)
        for cell in range(int(cells.max()) + 1):
            mask = morphology.dilation(cells == cell, morphology.disk(1))
            regions.append(set(zip(*map(np.ndarray.tolist, np.nonzero(mask)), strict=True)))
    found, free = np.full(a.shape, np.nan), set(np.ndindex(15, 15))
    while regions := [region for region in regions if len(region & free) >= 3]:
        best = max(regions, key=lambda region: np.mean([a[pixel] for pixel in region & free]))
        value = np.mean([a[pixel] for pixel in best & free])
        for pixel in best & free:
            found[pixel] = value
        free -= best
    if free:
        found[np.isnan(found)] = np.mean([a[pixel] for pixel in free])
    return torch.from_numpy(found).float()[None]


def sobol(net, x, target):
    """Jansen's estimator, cell by cell, on masks of 3 × 3 cells of 5 pixels."""
    qmc = pytest.importorskip("scipy.stats.qmc")
    points = qmc.Sobol(18, scramble=False).random(8).reshape(8, 2, 9)

    def y(shares):
        mask = torch.from_numpy(shares.reshape(3, 3)).float().repeat_interleave(5, 0).repeat_interleave(5, 1)
        return score(net, x * mask + 0.2 * (1 - mask), target)

    own = np.array([y(a) for a, _ in points])
    total = []
    for cell in range(9):
        mixed = [y(np.array([b[i] if i == cell else a[i] for i in range(9)])) for a, b in points]
        total.append(((own - mixed) ** 2).mean() / 2 / own.var(ddof=1))
    return torch.tensor(total).float().reshape(1, 3, 3)


@torch.no_grad()
def dff(net, x, target):
    """Least squares with W, H ≥ 0 in turns, from the singular vectors (Boutsidis & Gallopoulos 2008)."""
    optimize = pytest.importorskip("scipy.optimize")
    a = net.features(x)[0].double().numpy().reshape(12, 25).T
    least = a.min(0)
    a = a - least
    u, s, v = np.linalg.svd(a)
    h = []
    for k in range(2):
        halves = [(np.maximum(sign * u[:, k], 0), np.maximum(sign * v[k], 0)) for sign in (1, -1)]
        left, right = max(halves, key=lambda pair: np.linalg.norm(pair[0]) * np.linalg.norm(pair[1]))
        size = np.sqrt(s[k] * np.linalg.norm(left) * np.linalg.norm(right))
        h.append(size * right / np.linalg.norm(right))
    h = np.array(h)
    for _ in range(1500):
        w = np.array([optimize.nnls(h.T, row)[0] for row in a])
        h = np.array([optimize.nnls(w, column)[0] for column in a.T]).T
    scores = []
    for k in range(2):
        part = least + np.outer(w[:, k], h[k])
        part = torch.from_numpy(part.T.reshape(1, 12, 5, 5)).float()
        scores.append(float(net.head(part)[0, target[0]]))
    chosen = w[:, int(np.argmin(scores))]
    return torch.from_numpy(chosen / chosen.max()).float().reshape(1, 5, 5)
