"""The networks: shapes that everybody knows, with random weights, and chains of small nodes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from convnext import convnext
from onnx import helper, numpy_helper
from torch import nn

CLASSES = 1000
PICTURE = (1, 3, 224, 224)
SEED = 0


def norm_conv(inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Return a convolution that keeps the size but for its stride, and its batch normalisation."""
    conv = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outside)]


class Residual(nn.Module):
    """ReLU(body(x) + shortcut(x)), or without the ReLU."""

    def __init__(self, body: nn.Module, shortcut: nn.Module, rectify: bool) -> None:
        super().__init__()
        self.body, self.shortcut, self.last = body, shortcut, nn.ReLU() if rectify else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output."""
        return self.last(self.body(x) + self.shortcut(x))


class Squeeze(nn.Module):
    """Squeeze and excitation: each channel times a gate computed from the means of all."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        few = rounded(channels / 4)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, few, 1),
            nn.ReLU(),
            nn.Conv2d(few, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the gated channels."""
        return x * self.gate(x)


def rounded(channels: float) -> int:
    """Return the multiple of 8 near *channels*, at most 10 % below."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near if near >= 0.9 * channels else near + 8


def resnet50() -> nn.Sequential:
    """ResNet-50, 25.6 million parameters (He et al., 1512.03385)."""

    def block(inside: int, width: int, stride: int) -> nn.Module:
        outside = 4 * width
        body = nn.Sequential(
            *norm_conv(inside, width, 1),
            nn.ReLU(),
            *norm_conv(width, width, 3, stride),
            nn.ReLU(),
            *norm_conv(width, outside, 1),
        )
        same = inside == outside and stride == 1
        shortcut = nn.Identity() if same else nn.Sequential(*norm_conv(inside, outside, 1, stride))
        return Residual(body, shortcut, rectify=True)

    blocks, inside = [], 64
    for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for i in range(count):
            blocks.append(block(inside, width, stride if i == 0 else 1))
            inside = 4 * width
    features = nn.Sequential(*norm_conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1), *blocks)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, CLASSES))
    return nn.Sequential(features, head)


MOBILE = (  # kernel, expanded, out, squeeze, hardswish, stride
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)


def mobilenetv3() -> nn.Sequential:
    """MobileNetV3-Large, 5.5 million parameters (Howard et al., 1905.02244)."""

    def block(inside: int, kernel: int, wide: int, out: int, squeeze: bool, swish: bool, stride: int) -> nn.Module:
        rectifier = nn.Hardswish if swish else nn.ReLU
        expand = [*norm_conv(inside, wide, 1), rectifier()] if wide != inside else []
        gate = [Squeeze(wide)] if squeeze else []
        depthwise = norm_conv(wide, wide, kernel, stride, groups=wide)
        body = nn.Sequential(*expand, *depthwise, rectifier(), *gate, *norm_conv(wide, out, 1))
        return Residual(body, nn.Identity(), rectify=False) if stride == 1 and inside == out else body

    blocks, inside = [], 16
    for kernel, wide, out, squeeze, swish, stride in MOBILE:
        blocks.append(block(inside, kernel, wide, out, squeeze, swish, stride))
        inside = out
    features = nn.Sequential(*norm_conv(3, 16, 3, 2), nn.Hardswish(), *blocks, *norm_conv(160, 960, 1), nn.Hardswish())
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(960, 1280), nn.Hardswish(), nn.Linear(1280, CLASSES)
    )
    return nn.Sequential(features, head)


INVERTED = (  # expansion, out, blocks, stride
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenetv2() -> nn.Sequential:
    """MobileNetV2, 3.5 million parameters (Sandler et al., 1801.04381)."""

    def block(inside: int, out: int, stride: int, expansion: int) -> nn.Module:
        wide = inside * expansion
        expand = [*norm_conv(inside, wide, 1), nn.ReLU6()] if expansion > 1 else []
        depthwise = norm_conv(wide, wide, 3, stride, groups=wide)
        body = nn.Sequential(*expand, *depthwise, nn.ReLU6(), *norm_conv(wide, out, 1))
        return Residual(body, nn.Identity(), rectify=False) if stride == 1 and inside == out else body

    blocks, inside = [], 32
    for expansion, out, count, stride in INVERTED:
        for i in range(count):
            blocks.append(block(inside, out, stride if i == 0 else 1, expansion))
            inside = out
    features = nn.Sequential(*norm_conv(3, 32, 3, 2), nn.ReLU6(), *blocks, *norm_conv(320, 1280, 1), nn.ReLU6())
    return nn.Sequential(features, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, CLASSES)))


class Encoder(nn.Module):
    """One block of a transformer: attention and a perceptron, each behind a normalisation and beside a skip."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output."""
        n, tokens, width = x.shape
        qkv = self.qkv(self.before(x)).reshape(n, tokens, 3, self.heads, width // self.heads)
        y = nn.functional.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4).unbind(0))
        x = x + self.out(y.transpose(1, 2).reshape(n, tokens, width))
        return x + self.perceptron(self.between(x))


class VisionTransformer(nn.Module):
    """Patches of 16 × 16 pixels and a class token (Dosovitskiy et al., 2010.11929)."""

    def __init__(self, width: int = 768, depth: int = 12, heads: int = 12) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.blocks = nn.Sequential(*(Encoder(width, heads) for _ in range(depth)))
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.places = nn.Parameter(0.02 * torch.randn(1, 197, width))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the class scores."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        return self.head(self.norm(self.blocks(x))[:, 0])


NETWORKS: dict[str, Callable[[], nn.Sequential]] = {"ResNet-50": resnet50, "MobileNetV3-Large": mobilenetv3}
"""Features, then head: Grad-CAM looks at what stands between."""

OPEN = "ResNet-50, open batch"
"""The network whose file takes any number of pictures, for methods of several passes."""

ALONE: dict[str, Callable[[], nn.Module]] = {
    OPEN: resnet50,
    "ViT-B/16": VisionTransformer,
    "MobileNetV2": mobilenetv2,
    "ConvNeXt-Tiny": convnext,
    "MobileNetV2 int8": mobilenetv2,
    "Transformer of 2,000 nodes": lambda: VisionTransformer(64, 64, 2),
}
"""Networks that only some measurements take."""


def make(name: str) -> nn.Module:
    """Return the network *name*, ready for inference; its activations are alive.

    One pass over noise in training mode sets the statistics of every batch normalisation to those of its input.
    """
    torch.manual_seed(SEED)
    network = {**NETWORKS, **ALONE}[name]()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the statistics become the mean over all batches seen: this one
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    with torch.no_grad():
        network.train()(torch.randn(8, *PICTURE[1:]))
    return network.eval()


def picture() -> np.ndarray:
    """Return the input of all runs, float32 `PICTURE`."""
    return np.random.default_rng(SEED).standard_normal(PICTURE).astype(np.float32)


def exported(name: str, network: nn.Module, folder: Path) -> Path:
    """Return the .onnx file of *network*, exported if *folder* does not have it."""
    path = folder / f"{name.replace('/', '-')}-torch{torch.__version__}.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pictures = torch.from_numpy(picture()).repeat(2 if name == OPEN else 1, 1, 1, 1)
            program = torch.onnx.export(
                network,
                (pictures,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},) if name == OPEN else None,
                verbose=False,
                input_names=["image"],
                output_names=["logits"],
            )
        program.save(path, external_data=False)
        if name.endswith("int8"):
            quantise(path)
    return path


def quantise(path: Path) -> None:
    """Quantise the file at *path*: QDQ, uint8 activations, int8 weights by channel."""
    from onnxruntime import quantization as q

    class Noise(q.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            rng = np.random.default_rng(SEED)
            self.feeds = iter([{"image": rng.standard_normal(PICTURE).astype(np.float32)} for _ in range(8)])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.feeds, None)

    kinds = {"activation_type": q.QuantType.QUInt8, "weight_type": q.QuantType.QInt8}
    q.quantize_static(path, path, Noise(), quant_format=q.QuantFormat.QDQ, per_channel=True, **kinds)


def chain(length: int) -> onnx.ModelProto:
    """Return *length* nodes in a row: Relu, Mul, Add, Relu, …"""
    nodes, value = [], "x"
    for i in range(length):
        op_type = ("Relu", "Mul", "Add")[i % 3]
        operands = [value] if op_type == "Relu" else [value, "c"]
        value = "y" if i == length - 1 else f"v{i}"
        nodes.append(helper.make_node(op_type, operands, [value], name=f"n{i}"))
    tensors = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 8]) for name in ("x", "y")]
    constant = numpy_helper.from_array(np.full([1, 8], 0.999, np.float32), "c")
    graph = helper.make_graph(nodes, "chain", tensors[:1], tensors[1:], [constant])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
