"""Whole vision networks of `transformers`, small and with random weights, against PyTorch autograd.

``python -m tests.architectures [NAME ...]`` measures all of them, or those named, and writes docs/architectures.md.
The oracle is autograd in float64, itself held against a central difference: where it fails that, the difference is the
oracle. (Some networks detach a tensor on purpose; their autograd is not the derivative of what they compute.)
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import transformers as hf
from torch import nn

from onnxcam.autodiff import vjp
from onnxcam.errors import OnnxcamError
from onnxcam.testing import run
from tests.networks import export

SIZE = 64
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
PATCHES = {"image_size": SIZE, "patch_size": 16}
PYRAMID = {"hidden_sizes": [16, 32, 32, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 2]}
FIVE = {"num_labels": 5}
RESNET = {"embedding_size": 16, "hidden_sizes": [16, 32, 32, 32], "depths": [1, 1, 1, 1], "layer_type": "basic"}


def classifier(family: str, **settings: Any) -> Callable[[], tuple[nn.Module, str]]:
    """Return a maker of *family*'s image classifier, whose output is ``logits``."""
    return functools.partial(
        _make, f"{family}ForImageClassification", f"{family}Config", "logits", {**FIVE, **settings}
    )


def _make(model: str, config: str, output: str, settings: dict[str, Any]) -> tuple[nn.Module, str]:
    return getattr(hf, model)(getattr(hf, config)(**settings)), output


def other(model: str, config: str, output: str, **settings: Any) -> Callable[[], tuple[nn.Module, str]]:
    """Return a maker of any *model* of a picture, and the name of its *output*."""
    return functools.partial(_make, model, config, output, settings)


def _resnet_backbone() -> Any:
    return hf.ResNetConfig(**RESNET, out_features=["stage2", "stage3", "stage4"])


def _detector(model: str, config: str, **settings: Any) -> tuple[nn.Module, str]:
    widths = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2}
    ends = {"decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "num_queries": 5}
    plain = {"use_timm_backbone": False, "use_pretrained_backbone": False}
    made = getattr(hf, config)(backbone_config=_resnet_backbone(), **widths, **ends, **plain, **FIVE, **settings)
    return getattr(hf, model)(made), "logits"


def _clip_vision(family: str) -> Callable[[], tuple[nn.Module, str]]:
    return other(f"{family}VisionModel", f"{family}VisionConfig", "pooler_output", **SMALL, **PATCHES)


def _headed(model: str, config: str, output: str, **settings: Any) -> tuple[nn.Module, str]:
    plain = {"use_auxiliary_head": False, "backbone": None, "use_pretrained_backbone": False, **FIVE}
    backbone = hf.ResNetConfig(**RESNET, out_features=["stage1", "stage2", "stage3", "stage4"])
    return getattr(hf, model)(getattr(hf, config)(backbone_config=backbone, **plain, **settings)), output


def _depth_anything() -> tuple[nn.Module, str]:
    names = {
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
        "apply_layernorm": True,
        "reshape_hidden_states": False,
    }
    layers = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "mlp_ratio": 2, "patch_size": 16}
    backbone = hf.Dinov2Config(image_size=SIZE, **layers, **names)
    widths = {"reassemble_hidden_size": 32, "neck_hidden_sizes": [8, 8, 16, 16], "fusion_hidden_size": 8}
    config = hf.DepthAnythingConfig(backbone_config=backbone, patch_size=16, head_hidden_size=8, **widths)
    return hf.DepthAnythingForDepthEstimation(config), "predicted_depth"


def _rt_detr() -> tuple[nn.Module, str]:
    backbone = hf.RTDetrResNetConfig(**RESNET, out_features=["stage2", "stage3", "stage4"])
    widths = {
        "encoder_hidden_dim": 32,
        "d_model": 32,
        "encoder_in_channels": [32, 32, 32],
        "decoder_in_channels": [32] * 3,
    }
    small = {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "decoder_layers": 1, "num_queries": 5, "num_denoising": 0}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = hf.RTDetrConfig(backbone_config=backbone, backbone=None, **widths, **small, **heads, **FIVE)
    return hf.RTDetrForObjectDetection(config), "logits"


def _mask2former() -> tuple[nn.Module, str]:
    stages = {"depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 4, "embed_dim": 8, "image_size": SIZE}
    backbone = hf.SwinConfig(**stages, out_features=["stage1", "stage2", "stage3", "stage4"])
    widths = {"feature_size": 16, "mask_feature_size": 16, "hidden_dim": 16, "encoder_feedforward_dim": 16}
    small = {
        "encoder_layers": 1,
        "decoder_layers": 2,
        "dim_feedforward": 16,
        "num_queries": 4,
        "num_attention_heads": 2,
    }
    config = hf.Mask2FormerConfig(backbone_config=backbone, **widths, **small, **FIVE)
    return hf.Mask2FormerForUniversalSegmentation(config), "masks_queries_logits"


DPT = {
    "neck_hidden_sizes": [8, 8, 16, 16],
    "fusion_hidden_size": 8,
    "backbone_out_indices": [0, 1, 2, 3],
    "is_hybrid": False,
}
SAM = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "output_channels": 16}
SAM |= {"mlp_dim": 64, "window_size": 2, "global_attn_indexes": [1]}

NETWORKS: dict[str, Callable[[], tuple[nn.Module, str]]] = {
    "resnet": classifier("ResNet", **RESNET),
    "convnext": classifier("ConvNext", hidden_sizes=[16, 32], depths=[1, 1], num_stages=2),
    "convnextv2": classifier("ConvNextV2", hidden_sizes=[16, 32], depths=[1, 1], num_stages=2),
    "regnet": classifier("RegNet", embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], groups_width=8),
    "mobilenet_v1": classifier("MobileNetV1", depth_multiplier=0.25, image_size=SIZE),
    "mobilenet_v2": classifier("MobileNetV2", depth_multiplier=0.35, image_size=SIZE),
    "efficientnet": classifier(
        "EfficientNet", image_size=SIZE, width_coefficient=0.5, depth_coefficient=0.25, hidden_dim=640
    ),
    "bit": classifier("Bit", embedding_size=32, hidden_sizes=[32, 64], depths=[1, 1], num_groups=8),
    "vit": classifier("ViT", **SMALL, **PATCHES),
    "deit": classifier("DeiT", **SMALL, **PATCHES),
    "beit": classifier("Beit", **SMALL, **PATCHES),
    "data2vec_vision": classifier("Data2VecVision", **SMALL, **PATCHES),
    "dinov2": classifier("Dinov2", hidden_size=32, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, **PATCHES),
    "dinov2_with_registers": classifier(
        "Dinov2WithRegisters", hidden_size=32, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, **PATCHES
    ),
    "ijepa": classifier("IJepa", **SMALL, **PATCHES),
    "vit_msn": classifier("ViTMSN", **SMALL, **PATCHES),
    "swin": classifier(
        "Swin", image_size=SIZE, patch_size=4, embed_dim=16, depths=[2, 2], num_heads=[2, 2], window_size=4
    ),
    "swinv2": classifier(
        "Swinv2", image_size=SIZE, patch_size=4, embed_dim=16, depths=[2, 2], num_heads=[2, 2], window_size=4
    ),
    "cvt": classifier("Cvt", embed_dim=[16, 32, 32], num_heads=[1, 2, 2], depth=[1, 2, 3]),
    "levit": classifier(
        "Levit",
        image_size=SIZE,
        hidden_sizes=[32, 48, 64],
        num_attention_heads=[2, 3, 4],
        depths=[1, 1, 1],
        key_dim=[8, 8, 8],
    ),
    "poolformer": classifier("PoolFormer", hidden_sizes=[16, 32, 32, 32], depths=[1, 1, 1, 1]),
    "pvt": classifier("Pvt", image_size=SIZE, **PYRAMID),
    "pvt_v2": classifier("PvtV2", image_size=SIZE, **PYRAMID),
    "segformer": classifier("Segformer", **PYRAMID),
    "segformer_segmentation": other(
        "SegformerForSemanticSegmentation", "SegformerConfig", "logits", decoder_hidden_size=16, **PYRAMID, **FIVE
    ),
    "focalnet": classifier(
        "FocalNet", image_size=SIZE, embed_dim=16, depths=[1, 1], focal_levels=[1, 1], focal_windows=[3, 3]
    ),
    "mobilevit": classifier(
        "MobileViT", image_size=SIZE, hidden_sizes=[24, 32, 40], neck_hidden_sizes=[8, 8, 16, 24, 32, 40, 64]
    ),
    "mobilevitv2": classifier("MobileViTV2", image_size=SIZE, width_multiplier=0.25),
    "hiera": classifier(
        "Hiera", image_size=[SIZE, SIZE], embed_dim=16, depths=[1, 1], num_heads=[1, 2], num_query_pool=1
    ),
    "hgnet_v2": classifier("HGNetV2"),
    "textnet": classifier("TextNet"),
    "vit_mae": other("ViTMAEModel", "ViTMAEConfig", "last_hidden_state", mask_ratio=0.0, **SMALL, **PATCHES),
    "clip": _clip_vision("CLIP"),
    "siglip": _clip_vision("Siglip"),
    "dinov3_vit": other("DINOv3ViTModel", "DINOv3ViTConfig", "pooler_output", **SMALL, **PATCHES),
    "yolos": other(
        "YolosForObjectDetection",
        "YolosConfig",
        "logits",
        num_detection_tokens=5,
        **FIVE,
        **{**SMALL, "image_size": [SIZE, SIZE], "patch_size": 16},
    ),
    "detr": functools.partial(_detector, "DetrForObjectDetection", "DetrConfig"),
    "conditional_detr": functools.partial(_detector, "ConditionalDetrForObjectDetection", "ConditionalDetrConfig"),
    "deformable_detr": functools.partial(
        _detector,
        "DeformableDetrForObjectDetection",
        "DeformableDetrConfig",
        with_box_refine=True,
        num_feature_levels=3,
    ),
    "table_transformer": functools.partial(_detector, "TableTransformerForObjectDetection", "TableTransformerConfig"),
    "glpn": other("GLPNForDepthEstimation", "GLPNConfig", "predicted_depth", decoder_hidden_size=16, **PYRAMID),
    "superpoint": lambda: (
        hf.SuperPointForKeypointDetection(
            hf.SuperPointConfig(encoder_hidden_sizes=[1, 8, 16, 16], decoder_hidden_size=16)
        ).encoder,
        "last_hidden_state",
    ),
    "rt_detr": _rt_detr,
    "mask2former": _mask2former,
    "vilt": other(
        "ViltForQuestionAnswering",
        "ViltConfig",
        "logits",
        vocab_size=50,
        max_image_length=-1,
        **FIVE,
        **SMALL,
        **PATCHES,
    ),
    "timesformer": other(
        "TimesformerForVideoClassification", "TimesformerConfig", "logits", num_frames=2, **FIVE, **SMALL, **PATCHES
    ),
    "videomae": other(
        "VideoMAEForVideoClassification", "VideoMAEConfig", "logits", num_frames=2, **FIVE, **SMALL, **PATCHES
    ),
    "upernet": functools.partial(_headed, "UperNetForSemanticSegmentation", "UperNetConfig", "logits", hidden_size=16),
    "dpt": other(
        "DPTForSemanticSegmentation",
        "DPTConfig",
        "logits",
        use_auxiliary_head=False,
        **FIVE,
        **DPT,
        **{**SMALL, "num_hidden_layers": 4},
        **PATCHES,
    ),
    "depth_anything": functools.partial(_depth_anything),
    "owlvit": other("OwlViTVisionModel", "OwlViTVisionConfig", "pooler_output", **SMALL, **PATCHES),
    "blip": _clip_vision("Blip"),
    "sam": other("SamVisionModel", "SamVisionConfig", "last_hidden_state", **SAM, **PATCHES),
    "clipseg": other("CLIPSegVisionModel", "CLIPSegVisionConfig", "pooler_output", **SMALL, **PATCHES),
    "donut": other(
        "DonutSwinModel",
        "DonutSwinConfig",
        "last_hidden_state",
        image_size=SIZE,
        patch_size=4,
        embed_dim=16,
        depths=[2, 2],
        num_heads=[2, 2],
        window_size=4,
    ),
    "swin2sr": other(
        "Swin2SRForImageSuperResolution",
        "Swin2SRConfig",
        "reconstruction",
        image_size=SIZE,
        embed_dim=16,
        depths=[1, 1],
        num_heads=[2, 2],
        window_size=8,
    ),
}
"""Makers by name: each returns a module of one picture, and the name of its output."""

OTHERS: dict[str, dict[str, torch.Tensor]] = {
    "vit_mae": {"noise": torch.arange(16.0)[None]},
    "vilt": {"input_ids": torch.tensor([[2, 7, 3]])},
}
"""Constant arguments beside the picture."""

SHAPES: dict[str, tuple[int, ...]] = {"timesformer": (1, 2, 3, SIZE, SIZE), "videomae": (1, 2, 3, SIZE, SIZE)}
"""Shapes other than one picture."""

FAST = (
    "resnet convnextv2 regnet mobilenet_v2 vit beit dinov2_with_registers swinv2 cvt pvt_v2 segformer focalnet".split()
)
"""Those that the test suite runs."""


class Single(nn.Module):
    """A network of one picture, with one of its outputs."""

    def __init__(self, network: nn.Module, output: str, **others: torch.Tensor) -> None:
        super().__init__()
        self.network, self.output, self.others = network, output, others

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output tensor."""
        name = "pixel_values" if hasattr(self.network, "config") else "input"
        found = self.network(**{name: x}, **self.others)
        return found[0] if isinstance(found, tuple) else getattr(found, self.output)


@dataclass(frozen=True)
class Measured:
    """How the gradient of one network compares with PyTorch's."""

    name: str
    nodes: int
    gradient_nodes: int
    error: float  # relative, in the norm
    cosine: float
    oracle: str
    exporter: str
    seconds: float  # to build the gradient graph


def lively(network: nn.Module) -> nn.Module:
    """Give every weight a size at which signals neither die nor explode."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tensor.data = 1 + 0.3 * noise.tanh()
        elif tensor.ndim < 2 and name.endswith("weight"):
            tensor.data = 1 + 0.1 * noise
        elif tensor.requires_grad:
            fan = max(tensor[0].numel(), 1) if tensor.ndim > 1 else 1
            tensor.data = noise * (0.1 if tensor.ndim < 2 else fan**-0.5)
    return network.eval()


def _exported(network: nn.Module, x: torch.Tensor) -> tuple[onnx.ModelProto, str]:
    """Export by the newer exporter, or by the older one where that fails."""
    try:
        return export(network, x), "dynamo"
    except Exception:
        return export(network, x, dynamo=False, opset_version=18), "torchscript"


def measure(name: str) -> Measured:
    """Export the network *name* and compare its input gradient, on ONNX Runtime, with the oracle."""
    torch.manual_seed(0)
    network = Single(*NETWORKS[name](), **OTHERS.get(name, {}))
    lively(network)
    x = torch.randn(SHAPES.get(name, (1, 3, SIZE, SIZE)), generator=torch.Generator().manual_seed(1))
    model, exporter = _exported(network, x)
    output = model.graph.output[0].name
    start = time.perf_counter()
    gradient = vjp(model, [output], ["x"])
    seconds = time.perf_counter() - start
    y = run(model, {"x": x.numpy()})[output]
    seed = np.random.default_rng(2).standard_normal(y.shape).astype(np.float32)
    actual = run(gradient, {"x": x.numpy(), f"{output}.cotangent": seed})["x.gradient"].astype(np.float64)
    expected, oracle = _oracle(network.double(), x.double(), torch.from_numpy(seed).double())
    if expected.shape != actual.shape:  # the slope along one direction only
        direction = _direction(x)
        actual = np.atleast_1d(np.vdot(actual, direction))
    error = float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))
    cosine = float(np.vdot(actual, expected) / np.linalg.norm(actual) / np.linalg.norm(expected))
    nodes = len(model.graph.node)
    return Measured(name, nodes, len(gradient.graph.node), error, cosine, oracle, exporter, seconds)


def _direction(x: torch.Tensor) -> np.ndarray:
    direction = np.random.default_rng(3).standard_normal(tuple(x.shape))
    return direction / np.linalg.norm(direction)


def _oracle(network: nn.Module, x: torch.Tensor, seed: torch.Tensor) -> tuple[np.ndarray, str]:
    """Return the gradient by autograd in float64, or the slope along a direction where autograd itself is wrong."""
    x = x.requires_grad_()
    (found,) = torch.autograd.grad((network(x) * seed).sum(), x)
    direction, slopes = torch.from_numpy(_direction(x)), []
    for step in (1e-3, 1e-4, 1e-5, 1e-6):
        with torch.no_grad():
            ends = [(network(x + sign * step * direction) * seed).sum().item() for sign in (1, -1)]
        slopes.append((ends[0] - ends[1]) / (2 * step))
        if abs(slopes[-1] - (found * direction).sum().item()) < 1e-6 * found.norm().item():
            return found.numpy(), "autograd"
    return np.atleast_1d(slopes[2]), "difference"


def main(names: list[str]) -> int:
    """Measure the networks *names*, all by default; return 1 if one of them is off."""
    rows, wrong = [], 0
    for name in names or NETWORKS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = measure(name)
            good = found.error <= 1e-3 and found.cosine >= 0.9999
            row = (
                f"| {name} | {found.nodes} → {found.gradient_nodes} | {found.error:.0e} | {found.cosine:.6f} | "
                f"{found.oracle} | {found.exporter} | {found.seconds:.2f} s | {'yes' if good else '**no**'} |"
            )
        except OnnxcamError as error:
            good, row = False, f"| {name} | | | | | | | **no**: {error} |"
        except Exception as error:  # the exporter, or the network itself
            good, row = True, f"| {name} | | | | | | | not exported: {type(error).__name__} |"
        wrong += not good
        rows.append(row)
        print(row, flush=True)
    if not names:
        head = (__doc__ or "").partition("\n\n")[0]
        table = (
            "| network | nodes: model → with gradient | error | cosine | oracle | exporter | to build | holds |"
            + "\n|"
            + "---|" * 8
        )
        text = (
            f"# Whole networks\n\n{head}\n`python -m tests.architectures` wrote this table.\n\n{table}\n"
            + "\n".join(rows)
            + "\n"
        )
        (Path(__file__).parents[1] / "docs" / "architectures.md").write_text(text, "utf-8")
    return int(wrong > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NETWORKS, []])
    sys.exit(main(parser.parse_args().names))
