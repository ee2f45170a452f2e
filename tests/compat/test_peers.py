"""The other packages' own maps of the same network, where they are installed; docs/agreement.md has every method."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcam import compat
from onnxcam.compat import pytorch_grad_cam
from onnxcam.compat.captum import attr
from onnxcam.compat.torchcam import methods
from tests.networks import export, saved
from tests.optional import nn, torch

CAMS = ("GradCAM", "HiResCAM", "GradCAMElementWise", "XGradCAM", "LayerCAM", "ShapleyCAM", "ScoreCAM")
EXTRACTORS = ("CAM", "GradCAM", "XGradCAM", "LayerCAM", "ScoreCAM")
GRADIENTS = ("Saliency", "InputXGradient", "IntegratedGradients", "DeepLift", "GuidedBackprop", "Deconvolution", "LRP")
SCORE = 1e-3
"""The difference of Score-CAM: the peers add 1e-8 to the range of each mask, and one pair of maps is scaled twice."""
PEERS = ("pytorch_grad_cam", "torchcam", "captum")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # the peers' own


def peer(name: str) -> Any:
    """Return the module *name* of a peer; skip the test where it is not installed."""
    pytest.importorskip(name.partition(".")[0], reason="the peer is not installed", exc_type=ImportError)
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, Any]:
    """A network as a module and as a file, and two images."""
    if not any(map(importlib.util.find_spec, PEERS)):
        pytest.skip("no peer is installed")
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AvgPool2d(3, 2), nn.Conv2d(8, 12, 3), nn.ReLU())
    module = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5)).eval()
    x = torch.randn(2, 3, 32, 32)
    batch = torch.export.Dim("n", min=1)
    proto = export(module, x, dynamic_shapes=({0: batch},))
    return module, saved(tmp_path_factory.mktemp("peers") / "network.onnx", proto), x


def same(ours: Any, theirs: Any, tolerance: float = 2e-4) -> None:
    ours, theirs = (np.asarray(one.detach() if hasattr(one, "detach") else one) for one in (ours, theirs))
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    np.testing.assert_allclose(ours, theirs, atol=tolerance * np.abs(theirs).max())


@pytest.mark.parametrize("name", CAMS)
def test_cams_of_pytorch_grad_cam(name: str, network: tuple[Any, Path, Any]) -> None:
    theirs, targets = peer("pytorch_grad_cam"), peer("pytorch_grad_cam.utils.model_targets")
    module, path, x = network
    wishes = [targets.ClassifierOutputTarget(1), targets.ClassifierOutputTarget(3)]
    arguments = {} if name in ("ScoreCAM", "ShapleyCAM") else {"aug_smooth": True}
    with getattr(theirs, name)(model=module, target_layers=[module[0][1], module[0][4]]) as cam:
        expected = cam(input_tensor=x.clone(), targets=wishes, **arguments)
    with getattr(pytorch_grad_cam, name)(model=path, target_layers=["0.1", "0.4"]) as cam:
        same(cam(input_tensor=x, targets=[1, 3], **arguments), expected, SCORE if name == "ScoreCAM" else 2e-4)


def test_the_product_of_pytorch_grad_cam(network: tuple[Any, Path, Any]) -> None:
    theirs, (module, path, x) = peer("pytorch_grad_cam"), network
    layers = [module[0][1], module[0][4]]
    expected = theirs.RefineCAM(module, layers, base_method=theirs.LayerCAM)(x.clone())
    same(pytorch_grad_cam.RefineCAM(path, ["0.1", "0.4"], base_method=pytorch_grad_cam.LayerCAM)(x), expected)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_extractors_of_torch_cam(name: str, network: tuple[Any, Path, Any]) -> None:
    theirs, (module, path, x) = peer("torchcam.methods"), network
    with getattr(theirs, name)(module, "0.4") as extractor:
        (expected,) = extractor([1, 3], module(x))
    model = compat.CallableModel(path)
    with getattr(methods, name)(model, "0.4") as extractor:
        (found,) = extractor([1, 3], model(x))
    same(found, expected, SCORE if name == "ScoreCAM" else 2e-4)


@pytest.mark.parametrize("name", GRADIENTS)
def test_attributions_of_captum(name: str, network: tuple[Any, Path, Any]) -> None:
    theirs, (module, path, x) = peer("captum.attr"), network
    more: dict[str, Any] = {"n_steps": 300, "method": "riemann_middle"} if name == "IntegratedGradients" else {}
    if name == "LRP":
        module[2].rule = peer("captum.attr._utils.lrp_rules").EpsilonRule()
    expected = getattr(theirs, name)(module).attribute(x.clone().requires_grad_(), target=torch.tensor([1, 3]), **more)
    same(getattr(attr, name)(path).attribute(x, target=torch.tensor([1, 3]), **more), expected)


def test_layers_and_windows_of_captum(network: tuple[Any, Path, Any]) -> None:
    theirs, (module, path, x) = peer("captum.attr"), network
    same(
        attr.LayerGradCam(path, "0.4").attribute(x, 1),
        theirs.LayerGradCam(module, module[0][4]).attribute(x.clone().requires_grad_(), 1),
    )
    same(
        attr.GuidedGradCam(path, "0.1").attribute(x, 1),
        theirs.GuidedGradCam(module, module[0][1]).attribute(x.clone().requires_grad_(), 1),
    )
    window = {"sliding_window_shapes": (3, 8, 8), "strides": (3, 4, 4), "target": 1}
    same(attr.Occlusion(path).attribute(x, **window), theirs.Occlusion(module).attribute(x, **window))
