"""The gradient of a gradient of whole networks: a convolutional one and a transformer, against PyTorch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from onnxcam.autodiff import vjp
from onnxcam.testing import evaluate
from tests.autodiff.test_networks import Classifier, ViT, conv, exported

NETWORKS = {
    "cnn": lambda: Classifier(
        conv(3, 4, act=nn.SiLU), nn.MaxPool2d(2), conv(4, 8, groups=4, act=nn.GELU), conv(8, 4, 1, act=nn.Mish), width=4
    ),
    "vit": ViT,
}


@pytest.mark.parametrize("name", NETWORKS)
@sdpa_kernel(SDPBackend.MATH)  # PyTorch's other ones can be differentiated once
def test_gradient_of_a_gradient(name: str) -> None:
    """d⟨v, x.gradient⟩ / dx, and by the cotangent of the output."""
    torch.manual_seed(0)
    net = NETWORKS[name]().double().eval()
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    model = exported(net, x.detach(), "torchscript")
    (source,), output = model.graph.input, model.graph.output[0]
    u = torch.randn_like(net(x)).requires_grad_()
    v = torch.randn_like(x)
    (first,) = torch.autograd.grad(net(x), x, u, create_graph=True)
    expected = torch.autograd.grad(first, [x, u], v)

    once = vjp(model, [output.name], [source.name])
    gradient, seed = f"{source.name}.gradient", f"{output.name}.cotangent"
    twice = vjp(once, [gradient], [source.name, seed])
    feeds = {source.name: x.detach().numpy(), seed: u.detach().numpy(), f"{gradient}.cotangent": v.numpy()}
    results = evaluate(twice, feeds)
    np.testing.assert_allclose(
        results[gradient], first.detach().numpy(), rtol=1e-6, atol=1e-6 * float(first.abs().max())
    )
    for got, wanted in zip(list(results.values())[-2:], expected, strict=True):
        reference = wanted.numpy()
        assert np.abs(reference).max() > 0
        np.testing.assert_allclose(got, reference, rtol=1e-5, atol=1e-6 * np.abs(reference).max())
