"""A slow replica of each method, written from its paper in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from math import factorial
from typing import Any

import numpy as np
import pytest

from tests.methods.layer_relevance import as_matrix, split
from tests.methods.replica_networks import Transformer, input_gradient, layer_gradient, one_by_one, score
from tests.methods.replicas_of_paths import dff, guided_ig, idgi, sobol, xrai
from tests.methods.transformers import attnlrp_of_transformer, chefer, grad_eclip, legrad, rollout
from tests.optional import torch

F = torch.nn.functional


def cam(net, x, target):
    return torch.einsum("nk,nkij->nij", net.linear.weight[target], net.features(x)).detach()


def gradcam(net, x, target):
    a, g = layer_gradient(net, x, target)
    return sum(g[:, k].mean((1, 2))[:, None, None] * a[:, k] for k in range(a.shape[1])).clamp(min=0)


def gradcam_plus_plus(net, x, target):
    """Equations 10, 11 and 19 of the paper, position by position."""
    a, g = layer_gradient(net, x, target)
    out = torch.zeros(len(x), *a.shape[2:])
    for n in range(len(x)):
        for k in range(a.shape[1]):
            weight = 0.0
            for i in range(a.shape[2]):
                for j in range(a.shape[3]):
                    d = g[n, k, i, j].double()
                    below = 2 * d**2 + a[n, k].double().sum() * d**3
                    weight += (d**2 / below if below != 0 else 0.0) * d.clamp(min=0)
            out[n] += weight * a[n, k]
    return out.clamp(min=0)


def guided(coarse, net, x, target):
    fine = F.interpolate(coarse(net, x, target)[:, None], x.shape[2:], mode="bilinear", align_corners=False)
    return input_gradient(net, x, target, "guided") * fine


def attnlrp(net, x, target, first="flat", convs="attnlrp gamma"):
    """The paper's rules where the network has them; without attention LRP with the same rules of layers."""
    if isinstance(net, Transformer):
        return attnlrp_of_transformer(net, x, target, first)
    return relevance(net, x, target, first, convs, "epsilon", "score").sum(1).clamp(min=0)


def relevance(net, x, target, first, convs, linear, seed, at_layer=False):
    """Each layer as a matrix, one image after the other; pooling is a linear layer that is spread by *linear* too."""
    maps = []
    for n, c in enumerate(target):
        activations = [x[n].double()]
        for conv in net.convs:
            activations.append(F.relu(conv.double()(activations[-1][None]))[0].detach())
        a = activations[-1]
        f = a.mean((1, 2)) if net.pooled else a.flatten()
        w, b = net.linear.weight.detach().double(), net.linear.bias.detach().double()
        y = w @ f + b
        r = torch.zeros_like(y)
        r[c] = y[c] if seed == "score" else 1
        r = split(f, w, b, r, linear)
        if net.pooled:
            spread = torch.kron(torch.eye(len(f)), torch.ones(1, a[0].numel())).double() / a[0].numel()
            r = split(a.flatten(), spread, torch.zeros(len(f)).double(), r, linear)
        if at_layer:
            maps.append(r.reshape(a.shape).sum(0))
            continue
        for i in reversed(range(3)):
            w, b = as_matrix(net.convs[i], activations[i].shape)
            r = split(activations[i].flatten(), w, b, r, convs if i else first)
        maps.append(r.reshape(activations[0].shape))
    net.float()
    return torch.stack(maps).float()


def xgradcam(net, x, target):
    a, g = layer_gradient(net, x, target)
    out = torch.zeros(len(x), *a.shape[2:])
    for n in range(len(x)):
        for k in range(a.shape[1]):
            if a[n, k].sum() != 0:
                out[n] += (a[n, k] / a[n, k].sum() * g[n, k]).sum() * a[n, k]
    return out


def shapleycam(net, x, target):
    """The Hessian by rows, an image at a time."""
    out = []
    for n in range(len(x)):
        a = net.features(x[n : n + 1]).detach()

        def score(a, n=n):
            return net.head(a)[0, target[n]]

        g = torch.autograd.functional.jacobian(score, a)
        hessian = torch.autograd.functional.hessian(score, a).reshape(a.numel(), a.numel())
        weights = (g.flatten() - hessian @ a.flatten() / 2).reshape(a.shape).mean((2, 3), keepdim=True)
        out.append((weights * a).sum(1))
    return torch.cat(out).clamp(min=0)


def fem(net, x, target):
    a = net.features(x).detach()
    out = torch.zeros(len(x), *a.shape[2:])
    for n in range(len(x)):
        for k in range(a.shape[1]):
            mean, deviation = a[n, k].mean(), a[n, k].std(correction=0)
            out[n] += mean * (a[n, k] > mean + 2 * deviation)
    return out


def eigen(maps, sign=lambda projection, x: projection @ x.sum(1)):
    """The first principal component by the singular value decomposition, in float64; its sign is that of *sign*."""
    out = []
    for one in maps.double():
        x = one.flatten(1).T
        centred = x - x.mean(0)
        projection = centred @ torch.linalg.svd(centred).Vh[0]
        out.append(projection * torch.sign(sign(projection, x)))
    return torch.stack(out).reshape(len(maps), *maps.shape[2:]).float()


def eigengradcam(net, x, target):
    a, g = layer_gradient(net, x, target)
    return eigen(a * g)


def kpcacam(net, x, target):
    """Kernel PCA by the whole spectrum of the centred kernel matrix, in float64."""
    out = []
    for a in net.features(x).detach().double():
        x = a.flatten(1).T
        centred = x - x.mean(0)
        kernel = torch.tanh(centred @ centred.T / len(a) + 1)
        centre = torch.eye(len(x), dtype=x.dtype) - 1 / len(x)
        values, vectors = torch.linalg.eigh(centre @ kernel @ centre)
        projection = vectors[:, -1] * values[-1].sqrt()
        out.append((projection * torch.sign((projection**3).sum())).reshape(a.shape[1:]))
    return torch.stack(out).float()


def fullgrad(net, x, target):
    """What each bias adds is the gradient at its layer's output times the bias."""
    x = x.clone().requires_grad_()
    outputs, a = [], x
    for conv in net.convs:
        outputs.append(conv(a))
        a = F.relu(outputs[-1])
    gx, *gs = torch.autograd.grad(net.head(a)[range(len(x)), target].sum(), [x, *outputs])
    out = torch.zeros(len(x), 1, *x.shape[2:])
    for maps in [x * gx, *(g * conv.bias[:, None, None] for g, conv in zip(gs, net.convs, strict=True))]:
        for channel in maps.detach().abs().split(1, dim=1):
            low, high = channel.amin((2, 3), keepdim=True), channel.amax((2, 3), keepdim=True)
            scaled = (channel - low) / torch.where(high > low, high - low, 1)
            out += F.interpolate(scaled, x.shape[2:], mode="bilinear", align_corners=False)
    return out[:, 0]


def finercam(net, x, target):
    """The two classes with the closest scores, sorted; Grad-CAM of the difference."""
    a = net.features(x).detach().requires_grad_()
    y, total = net.head(a), 0
    for n, c in enumerate(target):
        apart = (y[n] - y[n, c]).abs().tolist()
        others = sorted((d for d in range(5) if d != c), key=apart.__getitem__)
        total = total + y[n, c] - 0.8 * (y[n, others[0]] + y[n, others[1]]) / 2
    (g,) = torch.autograd.grad(total, a)
    return (g.mean((2, 3), keepdim=True) * a).sum(1).clamp(min=0).detach()


def of_stages(net, x, target, cam):
    """The second convolution ends the stage of 7 × 7, the third that of 5 × 5; the product of *cam* at both."""
    a = x
    for conv in net.convs[:2]:
        a = F.relu(conv(a))
    fine = a.detach().requires_grad_()
    coarse = F.relu(net.convs[2](fine))
    gradients = torch.autograd.grad(net.head(coarse)[range(len(x)), target].sum(), (fine, coarse))
    out = 1
    for a, g in zip((fine, coarse), gradients, strict=True):
        found = cam(a, g).detach()
        low, high = found.amin((2, 3), keepdim=True), found.amax((2, 3), keepdim=True)
        found = (found - low) / torch.where(high > low, high - low, 1)
        out = out * F.interpolate(found, x.shape[2:], mode="bilinear", align_corners=False)
    return out[:, 0]


def smooth_layercam(a, g):
    """LayerCAM, and a Gaussian of one cell, seven cells wide, over it."""
    apart = torch.arange(-3, 4) ** 2
    kernel = torch.exp(-(apart[:, None] + apart) / 2)
    return F.conv2d((g.clamp(min=0) * a).sum(1, keepdim=True), (kernel / kernel.sum())[None, None], padding=3)


def by_position(combine):
    """A map that is a sum over channels of what *combine* makes of activation and gradient."""

    def replica(net, x, target):
        a, g = layer_gradient(net, x, target)
        return sum(combine(a[:, k], g[:, k]) for k in range(a.shape[1]))

    return replica


def around(x, samples, noise, seed=0):
    rng, sigma = np.random.default_rng(seed), noise * float(x.max() - x.min())
    return [x + torch.from_numpy(sigma * rng.standard_normal(x.shape[1:])).float() for _ in range(samples)]


def gradients_around(net, x, target):
    return torch.stack([input_gradient(net, z, target, "gradient") for z in around(x, 5, 0.2)])


def integrated_gradients(net, x, target):
    points = [1 + (step + 0.5) / 6 * (x - 1) for step in range(6)]
    return (x - 1) * sum(input_gradient(net, point, target, "gradient") for point in points) / 6


def smoothgrad_cam_plus_plus(net, x, target):
    (a,) = net.features(x).detach()
    g = torch.stack([layer_gradient(net, z, target)[1][0] for z in around(x, 5, 0.2)]).double()
    d1, d2, d3 = (sum(gi**n for gi in g) / 5 for n in (1, 2, 3))
    out = torch.zeros(a.shape[1:])
    for k in range(len(a)):
        below = 2 * d2[k] + d3[k] * a[k].double().sum()
        alpha = torch.where(below != 0, d2[k] / torch.where(below != 0, below, 1), 0)
        out += (alpha * d1[k].clamp(min=0)).sum() * a[k]
    return out.clamp(min=0)[None].float()


def occlusion(net, x, target):
    """Patches of 5 pixels every 3: 0, 3, 6, 9, and 10 at the edge."""
    total, count = torch.zeros(15, 15), torch.zeros(15, 15)
    for i in (0, 3, 6, 9, 10):
        for j in (0, 3, 6, 9, 10):
            covered = x.clone()
            covered[..., i : i + 5, j : j + 5] = 0.5
            total[i : i + 5, j : j + 5] += score(net, x, target) - score(net, covered, target)
            count[i : i + 5, j : j + 5] += 1
    return (total / count)[None]


def rise(net, x, target):
    """Cells of 4 pixels: 4 × 4 of them are enlarged to 20 × 20."""
    rng, total = np.random.default_rng(3), torch.zeros(15, 15)
    for _ in range(6):
        grid = torch.from_numpy(rng.random([4, 4]) < 0.4).float()
        large = F.interpolate(grid[None, None], (20, 20), mode="bilinear", align_corners=False)[0, 0]
        i, j = rng.integers(0, [4, 4])
        mask = large[i : i + 15, j : j + 15]
        with torch.no_grad():
            total += net(x * mask).softmax(1)[0, target[0]] * mask
    return total[None] / (6 * 0.4)


def scorecam(net, x, target):
    (a,) = net.features(x).detach()
    scores = []
    for channel in a:
        mask = F.interpolate(channel[None, None], x.shape[2:], mode="bilinear", align_corners=False)
        span = mask.max() - mask.min()
        mask = (mask - mask.min()) / span if span > 0 else 0 * mask
        scores.append(score(net, x * mask, target) - score(net, 0 * x, target))
    weights = torch.tensor(scores).softmax(0)
    return sum(w * channel for w, channel in zip(weights, a, strict=True)).clamp(min=0)[None]


def masked_scores(net, x, target, shares):
    """Σ_k α_k A_k, α the softmax of the mean score of the images that *shares* makes of each mask."""
    (a,) = net.features(x).detach()
    means = []
    for channel in a:
        mask = F.interpolate(channel[None, None], x.shape[2:], mode="bilinear", align_corners=False)
        span = mask.max() - mask.min()
        mask = (mask - mask.min()) / span if span > 0 else 0 * mask
        means.append(np.mean([score(net, x * part, target) for part in shares(mask)]) - score(net, 0 * x, target))
    weights = torch.tensor(means).softmax(0).float()
    return sum(w * channel for w, channel in zip(weights, a, strict=True)).clamp(min=0)[None]


def sscam(net, x, target):
    rng = np.random.default_rng(2)

    def noisy(mask):
        return [mask + 0.5 * torch.from_numpy(rng.standard_normal((15, 15), np.float32)) for _ in range(3)]

    return masked_scores(net, x, target, noisy)


def iscam(net, x, target):
    """M grows by 0/4, 1/4, 2/4, 3/4 of the mask."""

    def grown(mask):
        m = 0 * mask
        for j in range(4):
            m = m + j / 4 * mask
            yield m

    return masked_scores(net, x, target, grown)


@torch.no_grad()
def recipro_cam(net, x, target):
    """Shifts of a padded 3 × 3 kernel over 5 × 5 cells."""
    a, kernel = net.features(x), torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    out = torch.zeros(1, 5, 5)
    for i in range(5):
        for j in range(5):
            mask = torch.zeros(7, 7)
            mask[i : i + 3, j : j + 3] = kernel
            out[0, i, j] = net.head(a * mask[1:-1, 1:-1])[0, target[0]]
    return out - out.min()


@torch.no_grad()
def ablationcam(net, x, target):
    a, out = net.features(x).detach(), 0
    y = float(net.head(a)[0, target[0]])
    for k in range(a.shape[1]):
        ablated = a.clone()
        ablated[:, k] = 0
        out += (y - float(net.head(ablated)[0, target[0]])) / abs(y) * a[:, k]
    return out.clamp(min=0)


def expected_gradients(net, x, target):
    rng, total = np.random.default_rng(7), 0
    for _ in range(9):
        b = torch.from_numpy(BASELINES[rng.integers(len(BASELINES))])
        t = rng.random()
        total += (x - b) * input_gradient(net, b + t * (x - b), target, "gradient")
    return total / 9


def deeplift(net, x, target):
    """The multipliers as matrices, layer by layer, in float64; where pooled that is a linear layer too."""
    out = []
    for n, c in enumerate(target):
        here, there, shapes, matrices = x[n].double(), torch.full_like(x[n], 0.25).double(), [], []
        slopes = []
        for conv in net.convs:
            conv.double()
            matrices.append(as_matrix(conv, here.shape)[0])
            z, z0 = (conv(a[None])[0].detach() for a in (here, there))
            slopes.append(((F.relu(z) - F.relu(z0)) / (z - z0)).flatten())
            shapes.append(z.shape)
            here, there = F.relu(z), F.relu(z0)
        m = net.linear.weight[c].detach().double()
        if net.pooled:
            m = (m / shapes[-1][1:].numel()).repeat_interleave(shapes[-1][1:].numel())
        for slope, matrix in zip(reversed(slopes), reversed(matrices), strict=True):
            m = matrix.T @ (slope * m)
        out.append(m.reshape(x[n].shape) * (x[n].double() - 0.25))
    net.float()
    return torch.stack(out).float()


def superpixels(x, segments):
    """SLIC of the image in [0, 1]."""
    low, high = x.min(), x.max()
    scaled = ((x[0] - low) / (high - low)).permute(1, 2, 0).double().numpy()
    segmentation = pytest.importorskip("skimage.segmentation")
    return segmentation.slic(
        scaled, n_segments=segments, compactness=0.3, sigma=1, start_label=0, channel_axis=-1, convert2lab=False
    )


def present(x, cells, z, baseline):
    return torch.where(torch.from_numpy(np.asarray(z)[cells] > 0), x, baseline)


def shapley_values(net, x, target):
    """φ_j = Σ_S |S|! (d − |S| − 1)! / d! (y(S ∪ j) − y(S)), over all coalitions S."""
    cells = superpixels(x, 6)
    d = cells.max() + 1
    y = {z: score(net, present(x, cells, z, 0.1), target) for z in product((0, 1), repeat=d)}
    values = np.zeros(d)
    for z in y:
        for j in np.flatnonzero(np.equal(z, 0)):
            weight = factorial(sum(z)) * factorial(d - sum(z) - 1) / factorial(d)
            values[j] += weight * (y[(*z[:j], 1, *z[j + 1 :])] - y[z])
    return torch.from_numpy(values[cells]).float()[None]


@torch.no_grad()
def lime(net, x, target):
    """Weighted ridge regression with an intercept, which is not shrunk."""
    cells = superpixels(x, 6)
    d = cells.max() + 1
    z = np.random.default_rng(2).integers(0, 2, (40, d))
    z[0] = 1
    p = np.array([float(net(present(x, cells, row, 0.1)).softmax(1)[0, target[0]]) for row in z])
    cosine = np.array([row @ z[0] / (np.linalg.norm(row) * np.linalg.norm(z[0]) or 1) for row in z])
    weights = np.sqrt(np.exp(-((1 - cosine) ** 2) / 0.25**2))
    with_one = np.column_stack([z, np.ones(40)])
    shrink = np.diag([*np.ones(d), 0])
    fit = np.linalg.solve((with_one.T * weights) @ with_one + shrink, (with_one.T * weights) @ p)
    return torch.from_numpy(fit[cells]).float()[None]


BASELINES = np.random.default_rng(5).standard_normal((4, 3, 15, 15)).astype(np.float32)
SETTINGS: dict[str, dict[str, Any]] = {
    "finercam": {"alpha": 0.8, "classes": 2},
    "refinecam": {"base": "gradcam"},
    "smoothgrad": {"samples": 5, "noise": 0.2},
    "vargrad": {"samples": 5, "noise": 0.2},
    "smoothgradcam++": {"samples": 5, "noise": 0.2},
    "integrated-gradients": {"steps": 6, "baseline": 1.0},
    "dff": {"concepts": 2, "rank": 2},
    "guided-ig": {"steps": 7, "fraction": 0.1, "deviation": 0.3, "baseline": 0.5},
    "idgi": {"steps": 6, "baseline": 0.5, "batch_size": 3},
    "xrai": {"steps": 4, "side": 96, "spread": 1, "least": 3, "batch_size": 3},
    "sobol": {"designs": 8, "cells": 3, "baseline": 0.2, "batch_size": 7},
    "occlusion": {"patch": 1 / 3, "stride": 0.2, "baseline": 0.5, "batch_size": 3},
    "rise": {"samples": 6, "cells": 4, "keep": 0.4, "seed": 3, "batch_size": 4},
    "scorecam": {"batch_size": 5},
    "sscam": {"samples": 3, "noise": 0.5, "seed": 2, "batch_size": 5},
    "iscam": {"samples": 4, "batch_size": 5},
    "recipro-cam": {"batch_size": 7},
    "ablationcam": {"batch_size": 5},
    "expected-gradients": {"baselines": BASELINES, "samples": 9, "seed": 7, "batch_size": 4},
    "deeplift": {"baseline": 0.25},
    "kernelshap": {"segments": 6, "baseline": 0.1},
    "lime": {"segments": 6, "baseline": 0.1, "samples": 40, "seed": 2},
}
REPLICAS: dict[str, Callable] = {
    "cam": cam,
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "xgradcam": xgradcam,
    "hirescam": by_position(lambda a, g: a * g),
    "gradcam-elementwise": by_position(lambda a, g: (a * g).clamp(min=0)),
    "layercam": by_position(lambda a, g: a * g.clamp(min=0)),
    "shapleycam": shapleycam,
    "fem": fem,
    "finercam": finercam,
    "refinecam": partial(
        of_stages, cam=lambda a, g: (g.mean((2, 3), keepdim=True) * a).sum(1, keepdim=True).clamp(min=0)
    ),
    "refined-layercam": partial(of_stages, cam=smooth_layercam),
    "legrad": legrad,
    "chefer": chefer,
    "rollout": rollout,
    "grad-eclip": grad_eclip,
    "eigencam": lambda net, x, target: eigen(net.features(x).detach(), lambda projection, _: (projection**3).sum()),
    "eigengradcam": eigengradcam,
    "kpcacam": kpcacam,
    "fullgrad": fullgrad,
    "gradient": lambda net, x, target: input_gradient(net, x, target, "gradient"),
    "deconvnet": lambda net, x, target: input_gradient(net, x, target, "deconvnet"),
    "guided-backprop": lambda net, x, target: input_gradient(net, x, target, "guided"),
    "lrp": lambda *args: relevance(*args, "flat", "z+", "epsilon", "score"),
    "lrp-epsilon": lambda *args: relevance(*args, "epsilon", "epsilon", "epsilon", "score"),
    "lrp-gamma": lambda *args: relevance(*args, "flat", "gamma", "epsilon", "score"),
    "attnlrp": attnlrp,
    "excitation-backprop": lambda *args: relevance(*args, "", "", "excite", "one", at_layer=True),
    "guided-gradcam": partial(guided, gradcam),
    "gradient-x-input": lambda net, x, target: x * input_gradient(net, x, target, "gradient"),
    "guided-gradcam++": partial(guided, gradcam_plus_plus),
    "smoothgrad": one_by_one(lambda *case: gradients_around(*case).mean(0)),
    "vargrad": one_by_one(lambda *case: gradients_around(*case).var(0, correction=0)),
    "integrated-gradients": one_by_one(integrated_gradients),
    "dff": one_by_one(dff),
    "guided-ig": one_by_one(guided_ig),
    "idgi": one_by_one(idgi),
    "xrai": one_by_one(xrai),
    "sobol": one_by_one(sobol),
    "smoothgradcam++": one_by_one(smoothgrad_cam_plus_plus),
    "occlusion": one_by_one(occlusion),
    "rise": one_by_one(rise),
    "scorecam": one_by_one(scorecam),
    "sscam": one_by_one(sscam),
    "iscam": one_by_one(iscam),
    "recipro-cam": one_by_one(recipro_cam),
    "ablationcam": one_by_one(ablationcam),
    "expected-gradients": one_by_one(expected_gradients),
    "deeplift": deeplift,
    "kernelshap": one_by_one(shapley_values),
    "lime": one_by_one(lime),
}
