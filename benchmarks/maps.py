"""The peers' maps: for each method that a peer has, how its library is called, on small networks of random weights.

Where samples are drawn, the peer is given onnxcam's own noise, or so many samples that what is left is chance.
"""

from __future__ import annotations

import copy
import importlib.metadata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import lxt_maps
import numpy as np
import torch
from torch import nn

from onnxcam.converters import from_pytorch

SIDE = 64
GRID = 3  # superpixels a side, where a peer takes them as given
NOISE = 0.15


def curved() -> nn.Sequential:
    """Features, then a head that is curved in them."""
    features = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU()), *(nn.Conv2d(16, 32, 3, 2), nn.ReLU())
    )
    head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 64), nn.SiLU(), nn.Linear(64, 10))
    return nn.Sequential(features, head)


def plain(pool: type[nn.Module] = nn.MaxPool2d) -> nn.Sequential:
    """Rectifiers, a maximum, and a linear head behind global average pooling: what every peer knows."""
    features = nn.Sequential(*(nn.Conv2d(3, 16, 3, 2), nn.ReLU(), pool(3, 2)), *(nn.Conv2d(16, 32, 3), nn.ReLU()))
    return nn.Sequential(features, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)))


NETWORKS: dict[str, Callable[[], nn.Sequential]] = {
    "curved": curved,
    "plain": plain,
    "averaged": lambda: plain(nn.AvgPool2d),
    "transformer": lxt_maps.transformer,
    "class token": lambda: lxt_maps.transformer(class_token=True),
}


@dataclass(frozen=True)
class Case:
    """A network as PyTorch module and as file, and a picture."""

    module: nn.Sequential
    path: Path
    x: torch.Tensor

    @property
    def target(self) -> int:
        """The class that the network puts first."""
        return int(self.module(self.x).argmax())

    def twin(self) -> Any:
        """Return a copy of the module, for a peer of its own."""
        return copy.deepcopy(self.module)


def case(name: str, folder: Path) -> Case:
    """Make the network *name*; its file lies in *folder*."""
    torch.manual_seed(0)
    module, x = NETWORKS[name]().eval(), torch.randn(1, 3, SIDE, SIDE)
    folder.mkdir(exist_ok=True)
    path = folder / f"agreement-{name.replace(' ', '-')}.onnx"
    from_pytorch(module, path, x, verify=False)
    return Case(module, path, x)


def as_it_is(ours: np.ndarray, theirs: np.ndarray) -> list[np.ndarray]:
    """Return onnxcam's map untouched."""
    return [ours]


def rectified(ours: np.ndarray, theirs: np.ndarray) -> list[np.ndarray]:
    """Return onnxcam's map without its negative values."""
    return [np.maximum(ours, 0)]


def enlarged(ours: np.ndarray, theirs: np.ndarray) -> list[np.ndarray]:
    """Return onnxcam's map rectified and enlarged, as pytorch-grad-cam does it."""
    return [cv2.resize(np.maximum(ours, 0), theirs.shape[::-1])]


def positive_parts(ours: np.ndarray, theirs: np.ndarray) -> list[np.ndarray]:
    """Return onnxcam's map, which has no negative values; the peer loses its own, in place."""
    np.maximum(theirs, 0, out=theirs)
    return [ours]


def for_each_channel(ours: np.ndarray, theirs: np.ndarray) -> list[np.ndarray]:
    """Return onnxcam's map of the picture, which has no channels, once for each."""
    return [np.broadcast_to(ours, theirs.shape)]


def either_sign(ours: np.ndarray, theirs: np.ndarray) -> list[np.ndarray]:
    """Return it with both signs: the peer's is whatever the decomposition returns."""
    return [*enlarged(ours, theirs), *enlarged(-ours, theirs)]


@dataclass(frozen=True)
class Row:
    """One method, the peer's name of it, and its map."""

    method: str
    name: str
    theirs: Callable[[Case], np.ndarray]
    settings: Mapping[str, Any] = field(default_factory=dict)
    network: str = "plain"
    shown: Callable[[np.ndarray, np.ndarray], list[np.ndarray]] = as_it_is
    having: str = ""  # the settings, or a formula that is not onnxcam's, to show that it is the peer's
    ours: Callable[[Case], np.ndarray] | None = None  # the map by that formula


@contextmanager
def onnxcams_noise() -> Iterator[None]:
    """Have PyTorch draw normal numbers from the generator that onnxcam uses, seed 0."""
    rng = np.random.default_rng(0)

    def normal(mean: Any, std: torch.Tensor) -> torch.Tensor:
        return mean + std * torch.from_numpy(rng.standard_normal(tuple(std.shape))).float()

    with mock.patch("torch.normal", normal):
        yield


def sigma(case: Case) -> float:
    """Return the noise that onnxcam adds."""
    return NOISE * float(case.x.max() - case.x.min())


def grad_cam(method: str, name: str, shown: Any = enlarged) -> Row:
    """Return the row of a class of pytorch-grad-cam."""

    def theirs(case: Case) -> np.ndarray:
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        module = case.twin()
        cam = getattr(pytorch_grad_cam, name)(model=module, target_layers=[module[0][-1]])
        with mock.patch("tqdm.tqdm", lambda samples, **_: samples):
            return cam(input_tensor=case.x.clone(), targets=[ClassifierOutputTarget(case.target)])[0]

    return Row(method, name, theirs, network="curved", shown=shown)


def torch_cam(method: str, name: str, ours: Mapping[str, Any] | None = None, /, **settings: Any) -> Row:
    """Return the row of a class of torch-cam, before it scales its map to [0, 1]."""

    def theirs(case: Case) -> np.ndarray:
        import torchcam.methods

        module = case.twin()
        with onnxcams_noise(), getattr(torchcam.methods, name)(module, module[0][-1], **settings) as cam:
            if hasattr(cam, "_distrib") and name == "SmoothGradCAMpp":
                cam._distrib = torch.distributions.normal.Normal(0, sigma(case))
            found = cam(case.target, module(case.x), normalized=False)[0]
        return found[0].detach().numpy()

    return Row(method, name, theirs, ours or {}, shown=rectified)


def activation_and_gradient(case: Case, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the last features A and ∂, [K, H, W] each."""
    a = case.module[0](x).detach().requires_grad_()
    (g,) = torch.autograd.grad(case.module[1](a)[0, case.target], a)
    return a.detach()[0], g[0]


def undivided(case: Case) -> np.ndarray:
    """Return the map of Grad-CAM++ with α = ∂², as torch-cam's is."""
    a, g = activation_and_gradient(case, case.x)
    return torch.einsum("k,kij->ij", (g**2 * g.relu()).sum((1, 2)), a).numpy()


def last_alone(case: Case) -> np.ndarray:
    """Return the map of Smooth Grad-CAM++ with A and ReLU(∂) of the last noisy picture, as torch-cam's is."""
    with onnxcams_noise():
        noisy = [case.x + torch.normal(0, torch.full_like(case.x, sigma(case))) for _ in range(4)]
    pairs, (a, _) = [activation_and_gradient(case, x) for x in noisy], activation_and_gradient(case, case.x)
    d2, d3 = (sum(g**n for _, g in pairs) / 4 for n in (2, 3))
    alpha = d2 / (2 * d2 + (d3 * a).sum((1, 2), keepdim=True) + 1e-8)
    last, g = pairs[-1]
    return torch.einsum("k,kij->ij", (alpha * g.relu()).sum((1, 2)), last).numpy()


def captum(
    method: str,
    name: str,
    ours: Mapping[str, Any] | None = None,
    shown: Any = as_it_is,
    /,
    network: str = "plain",
    **settings: Any,
) -> Row:
    """Return the row of a class of captum."""

    def theirs(case: Case) -> np.ndarray:
        import captum.attr

        return _captum(getattr(captum.attr, name)(case.twin()), case, **settings)

    return Row(method, name, theirs, ours or {}, network, shown)


def captum_of_layer(method: str, name: str, /, **settings: Any) -> Row:
    """Return the row of a class of captum that looks at a layer."""

    def theirs(case: Case) -> np.ndarray:
        import captum.attr

        module = case.twin()
        return _captum(getattr(captum.attr, name)(module, module[0][-1]), case, **settings)

    return Row(method, name, theirs)


def captum_lrp() -> Row:
    """Return the row of captum's LRP; flattening, for which it has no rule, moves relevance as it is."""

    def theirs(case: Case) -> np.ndarray:
        from captum.attr import LRP
        from captum.attr._utils.lrp_rules import EpsilonRule

        module = case.twin()
        module[1][1].rule = EpsilonRule()
        return _captum(LRP(module), case)

    return Row("lrp-epsilon", "LRP", theirs)


def lxt(first: str, gamma: float) -> Row:
    """Return the row of LXT, with *gamma* at the patches."""
    settings, having = {"first": first, "gamma": gamma}, f"`first={first}`, `gamma={gamma:g}`"

    def theirs(case: Case) -> np.ndarray:
        return lxt_maps.relevance(case.module, case.x, case.target, gamma)

    name = f"AttnLRP, γ = {gamma:g} at the patches" if gamma else "AttnLRP"
    return Row("attnlrp", name, theirs, settings, "transformer", positive_parts, having)


def captum_tunnel(method: str, kind: str) -> Row:
    """Return the row of captum's NoiseTunnel around Saliency."""

    def theirs(case: Case) -> np.ndarray:
        from captum.attr import NoiseTunnel, Saliency

        with onnxcams_noise():
            settings = {"nt_type": kind, "nt_samples": 10, "stdevs": sigma(case), "abs": False}
            return _captum(NoiseTunnel(Saliency(case.twin())), case, **settings)

    return Row(method, f"NoiseTunnel {kind}", theirs, {"samples": 10, "noise": NOISE})


def captum_of_regions(method: str, name: str, ours: Mapping[str, Any], /, **settings: Any) -> Row:
    """Return the row of a class of captum that covers the regions that onnxcam finds."""

    def theirs(case: Case) -> np.ndarray:
        import captum.attr

        made, regions = getattr(captum.attr, name), torch.from_numpy(superpixels(case)).long()
        torch.manual_seed(0)
        module = case.twin()
        forward = nn.Sequential(module, nn.Softmax(1)) if name == "Lime" else module
        more = _lime_settings() if name == "Lime" else {}
        return _captum(made(forward, **more), case, feature_mask=regions[None, None], **settings)

    return Row(method, name, theirs, ours, shown=for_each_channel)


def superpixels(case: Case) -> np.ndarray:
    """Return the superpixels that onnxcam explains the picture with."""
    from skimage.segmentation import slic

    from onnxcam.methods.superpixels import COMPACTNESS

    scaled = ((case.x[0] - case.x.min()) / (case.x.max() - case.x.min())).permute(1, 2, 0).double().numpy()
    return slic(scaled, GRID**2, COMPACTNESS, sigma=1, start_label=0, channel_axis=-1, convert2lab=False)


def _lime_settings() -> dict[str, Any]:
    """Return LIME's own choices, which captum does not take by itself."""
    from captum._utils.models.linear_model import SkLearnRidge

    def similarity(original: Any, perturbed: Any, z: torch.Tensor, **_: Any) -> float:
        return float(torch.exp(-(((1 - z.float().mean().sqrt()) / 0.25) ** 2) / 2))

    return {"interpretable_model": SkLearnRidge(alpha=1.0), "similarity_func": similarity}


def _captum(made: Any, case: Case, /, **settings: Any) -> np.ndarray:
    x = case.x.clone().requires_grad_()
    return made.attribute(x, target=case.target, **settings)[0].detach().numpy()


def version(peer: str) -> str:
    """Return the version of *peer*; equations have none."""
    if peer.startswith("Equations"):
        return ""
    return importlib.metadata.version({"pytorch-grad-cam": "grad-cam", "torch-cam": "torchcam"}.get(peer, peer))


WINDOW, STRIDE = (3, 16, 16), (3, 8, 8)
OCCLUSION = {"patch": 16 / SIDE, "stride": 8 / SIDE}
TILES = torch.arange(64).reshape(8, 8).repeat_interleave(8, 0).repeat_interleave(8, 1)
SMOOTH = {"samples": 4, "noise": NOISE}
SAMPLED = {"n_samples": 2000, "perturbations_per_eval": 200}

PEERS: dict[str, list[Row]] = {
    "pytorch-grad-cam": [
        grad_cam("gradcam", "GradCAM"),
        grad_cam("gradcam++", "GradCAMPlusPlus"),
        grad_cam("xgradcam", "XGradCAM"),
        grad_cam("hirescam", "HiResCAM"),
        grad_cam("gradcam-elementwise", "GradCAMElementWise"),
        grad_cam("layercam", "LayerCAM"),
        grad_cam("shapleycam", "ShapleyCAM"),
        grad_cam("fem", "FEM"),
        grad_cam("eigencam", "EigenCAM", either_sign),
        grad_cam("eigengradcam", "EigenGradCAM", either_sign),
        grad_cam("kpcacam", "KPCA_CAM", either_sign),
        grad_cam("fullgrad", "FullGrad"),
        grad_cam("scorecam", "ScoreCAM"),
        grad_cam("ablationcam", "AblationCAM"),
    ],
    "torch-cam": [
        torch_cam("cam", "CAM"),
        torch_cam("gradcam", "GradCAM"),
        torch_cam("gradcam++", "GradCAMpp"),
        replace(torch_cam("gradcam++", "GradCAMpp"), having="α = ∂²", ours=undivided),
        torch_cam("smoothgradcam++", "SmoothGradCAMpp", SMOOTH),
        replace(torch_cam("smoothgradcam++", "SmoothGradCAMpp"), having="A, ∂ of the last sample", ours=last_alone),
        torch_cam("xgradcam", "XGradCAM"),
        torch_cam("layercam", "LayerCAM"),
        torch_cam("scorecam", "ScoreCAM"),
        torch_cam("sscam", "SSCAM"),
        torch_cam("iscam", "ISCAM"),
    ],
    "lxt": [lxt("epsilon", 0.0), lxt("gamma", 0.25)],
    "captum": [
        captum("gradient", "Saliency", abs=False),
        captum("gradient-x-input", "InputXGradient"),
        captum("integrated-gradients", "IntegratedGradients", n_steps=32, method="riemann_middle"),
        captum("deeplift", "DeepLift", {"baseline": 0.25}, baselines=0.25, network="averaged"),
        captum("deeplift", "DeepLift", {"baseline": 0.25}, baselines=0.25),
        captum("guided-backprop", "GuidedBackprop"),
        captum("deconvnet", "Deconvolution"),
        captum_of_layer("guided-gradcam", "GuidedGradCam", interpolate_mode="bilinear"),
        captum_of_layer("gradcam", "LayerGradCam", relu_attributions=True),
        captum_lrp(),
        captum_tunnel("smoothgrad", "smoothgrad"),
        captum_tunnel("vargrad", "vargrad"),
        captum(
            "expected-gradients",
            "GradientShap",
            {"baselines": np.zeros((1, 3, SIDE, SIDE), np.float32), "samples": 2000, "batch_size": 100},
            baselines=torch.zeros(1, 3, SIDE, SIDE),
            n_samples=2000,
        ),
        captum("occlusion", "Occlusion", OCCLUSION, for_each_channel, sliding_window_shapes=WINDOW, strides=STRIDE),
        captum(
            "occlusion",
            "FeatureAblation",
            {"patch": 1 / 8, "stride": 1 / 8},
            for_each_channel,
            feature_mask=TILES[None, None],
        ),
        captum_of_regions("kernelshap", "KernelShap", {"segments": GRID**2, "samples": 4000}, **SAMPLED),
        captum_of_regions("lime", "Lime", {"segments": GRID**2, "samples": 4000}, **SAMPLED),
    ],
}
"""Who is compared with whom."""
