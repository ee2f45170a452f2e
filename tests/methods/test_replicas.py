"""Each method against a slow replica, written from its paper in PyTorch on the network that was exported."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from onnxcam import Explainer
from onnxcam.methods import METHODS
from tests.methods.replicas import (
    REPLICAS,
    SETTINGS,
    F,
    Net,
    Transformer,
    attnlrp,
    gradcam,
    shapleycam,
    torch,
)
from tests.networks import export


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    made = {}
    for kind in (Net, Transformer):
        for form in (True, False):
            net = kind(form).eval()
            batch = {0: torch.export.Dim("n", min=1, max=8)}
            made[kind, form] = net, export(net, torch.rand(2, 3, 15, 15), dynamic_shapes=({**batch},))
    return made


def test_every_method_has_a_replica() -> None:
    assert REPLICAS.keys() == METHODS.keys() - {
        "drise",
        "attention-x-gradient",
    }  # test_drise.py, decoders/test_word_attention.py


@pytest.mark.parametrize("pooled", [True, False], ids=["pooled", "flat"])
@pytest.mark.parametrize("method", REPLICAS)
def test_replica(networks, method: str, pooled: bool) -> None:
    if method == "cam" and not pooled:
        pytest.skip("cam needs a pooled head")
    net, model = networks[Transformer if METHODS[method].needs_attention else Net, pooled]
    x, target = torch.randn(3, 3, 15, 15, generator=torch.Generator().manual_seed(1)), [4, 0, 2]
    expected = REPLICAS[method](net, x, target).numpy()
    actual = Explainer(model, method=method, settings=SETTINGS.get(method, {})).attribute(x.numpy(), target=target)
    assert actual.shape == expected.shape
    assert expected.any()
    np.testing.assert_allclose(actual, expected, rtol=2e-4, atol=1e-5 * float(np.abs(expected).max()))


@pytest.mark.parametrize("first", ["flat", "gamma", "epsilon"])
@pytest.mark.parametrize("class_token", [True, False])
def test_attnlrp_of_a_transformer(networks, class_token: bool, first: Literal["flat", "gamma", "epsilon"]) -> None:
    net, model = networks[Transformer, class_token]
    x, target = torch.randn(2, 3, 15, 15, generator=torch.Generator().manual_seed(1)), [4, 2]
    expected = attnlrp(net, x, target, {"gamma": "attnlrp gamma"}.get(first, first)).numpy()
    actual = Explainer(model, method="attnlrp", settings={"first": first}).attribute(x.numpy(), target=target)
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=2e-5 * float(expected.max()))


class Curved(Net):
    """The score is curved in the activation, as behind attention, gates or SiLU."""

    def head(self, a):
        return self.linear(F.silu(4 * a.mean((2, 3))))


def test_shapleycam_sees_curvature() -> None:
    torch.manual_seed(0)
    net = Curved(pooled=True).eval()
    x, target = torch.randn(2, 3, 15, 15), [4, 0]
    model = export(net, x)
    expected = shapleycam(net, x, target).numpy()
    actual = Explainer(model, method="shapleycam").attribute(x.numpy(), target=target)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)
    assert np.abs(expected - gradcam(net, x, target).numpy()).max() > 1e-2 * expected.max()
