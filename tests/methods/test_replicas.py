"""Each method against a slow replica, written from its paper in PyTorch on the network that was exported."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from onnxcam import Explainer
from onnxcam.methods import METHODS
from tests.networks import export

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


class Rectifier(torch.autograd.Function):
    """A ReLU that passes back what *how* lets through."""

    @staticmethod
    def forward(ctx, x, how):
        ctx.save_for_backward(x)
        ctx.how = how
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        passed = {"gradient": x > 0, "deconvnet": dy > 0, "guided": (x > 0) & (dy > 0)}[ctx.how]
        return dy * passed, None


class Net(nn.Module):
    """Three convolutions, and a head: pooled and linear, or flat with two linear layers."""

    def __init__(self, pooled: bool) -> None:
        super().__init__()
        self.pooled, self.how = pooled, None
        self.convs = nn.ModuleList([nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 16, 3, padding=1), nn.Conv2d(16, 12, 3)])
        self.linear = nn.Linear(12, 5) if pooled else nn.Linear(12 * 25, 5)

    def rectify(self, x):
        return F.relu(x) if self.how is None else Rectifier.apply(x, self.how)

    def features(self, x):
        for conv in self.convs:
            x = self.rectify(conv(x))
        return x

    def head(self, a):
        return self.linear(a.mean((2, 3)) if self.pooled else a.flatten(1))

    def forward(self, x):
        return self.head(self.features(x))


def layer_gradient(net, x, target):
    a = net.features(x).detach().requires_grad_()
    (g,) = torch.autograd.grad(net.head(a)[range(len(x)), target].sum(), a)
    return a.detach(), g


def input_gradient(net, x, target, how):
    net.how, x = how, x.clone().requires_grad_()
    (g,) = torch.autograd.grad(net(x)[range(len(x)), target].sum(), x)
    net.how = None
    return g


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


REPLICAS: dict[str, Callable] = {
    "cam": cam,
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "gradient": lambda net, x, target: input_gradient(net, x, target, "gradient"),
    "deconvnet": lambda net, x, target: input_gradient(net, x, target, "deconvnet"),
    "guided-backprop": lambda net, x, target: input_gradient(net, x, target, "guided"),
    "guided-gradcam": partial(guided, gradcam),
    "gradient-x-input": lambda net, x, target: x * input_gradient(net, x, target, "gradient"),
    "guided-gradcam++": partial(guided, gradcam_plus_plus),
}


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    made = {}
    for pooled in (True, False):
        net = Net(pooled).eval()
        batch = {0: torch.export.Dim("n", min=1, max=8)}
        made[pooled] = net, export(net, torch.rand(2, 3, 15, 15), dynamic_shapes=({**batch},))
    return made


def test_every_method_has_a_replica() -> None:
    assert REPLICAS.keys() == METHODS.keys()


@pytest.mark.parametrize("pooled", [True, False], ids=["pooled", "flat"])
@pytest.mark.parametrize("method", REPLICAS)
def test_replica(networks, method: str, pooled: bool) -> None:
    if method == "cam" and not pooled:
        pytest.skip("cam needs a pooled head")
    net, model = networks[pooled]
    x, target = torch.randn(3, 3, 15, 15, generator=torch.Generator().manual_seed(1)), [4, 0, 2]
    expected = REPLICAS[method](net, x, target).numpy()
    actual = Explainer(model, method=method).attribute(x.numpy(), target=target)
    assert actual.shape == expected.shape
    assert expected.any()
    np.testing.assert_allclose(actual, expected, rtol=2e-4, atol=1e-5 * float(np.abs(expected).max()))
