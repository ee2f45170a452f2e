"""The gradient of a gradient of whole networks, a convolutional one and a transformer: against PyTorch in float64.

The reference evaluator gathers no more than 64 elements along one axis: ONNX Runtime computes, in float32.
"""

from __future__ import annotations

import numpy as np
import pytest

from onnxcam.autodiff import vjp
from onnxcam.testing import run
from tests.autodiff.networks.attention import ViT
from tests.autodiff.networks.convolutional import Classifier, conv
from tests.autodiff.networks.exported import exported
from tests.optional import nn, torch

NETWORKS = {
    "cnn": lambda: Classifier(
        conv(3, 4, act=nn.SiLU), nn.MaxPool2d(2), conv(4, 8, groups=4, act=nn.GELU), conv(8, 4, 1, act=nn.Mish), width=4
    ),
    "vit": ViT,
}


@pytest.mark.parametrize("name", NETWORKS)
@torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)  # PyTorch's other ones can be differentiated once
def test_gradient_of_a_gradient(name: str) -> None:
    """d⟨v, x.gradient⟩ / dx, and by the cotangent of the output."""
    torch.manual_seed(0)
    net = NETWORKS[name]().double().eval()
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    u = torch.randn_like(net(x)).requires_grad_()
    v = torch.randn_like(x)
    (first,) = torch.autograd.grad(net(x), x, u, create_graph=True)
    expected = torch.autograd.grad(first, [x, u], v)

    model = exported(net.float(), x.detach().float(), "torchscript")
    (source,), output = model.graph.input, model.graph.output[0]
    once = vjp(model, [output.name], [source.name])
    gradient, seed = f"{source.name}.gradient", f"{output.name}.cotangent"
    twice = vjp(once, [gradient], [source.name, seed])
    feeds = {source.name: x, seed: u, f"{gradient}.cotangent": v}
    results = run(twice, {key: value.detach().float().numpy() for key, value in feeds.items()})
    for got, wanted in zip([results[gradient], *list(results.values())[-2:]], [first, *expected], strict=True):
        reference = wanted.detach().numpy()
        largest = np.abs(reference).max()
        assert largest > 0
        np.testing.assert_allclose(got, reference, rtol=1e-3, atol=1e-4 * largest)
