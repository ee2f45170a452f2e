"""Small networks of the common families, as PyTorch's two exporters write them: gradients against autograd.

In float64, on the ONNX reference evaluator, agreement is near rounding. The reference has no indices of a max pool
with stride 1, though: a network with one runs in float32 on ONNX Runtime.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from onnxcam.autodiff import vjp
from onnxcam.testing import evaluate, run

RTOL = {"float64": 1e-6, "float32": 1e-4}  # exporters write some constants in float32


def conv(a: int, b: int, k: int = 3, stride: int = 1, groups: int = 1, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, k, stride, k // 2, groups=groups, bias=False), nn.BatchNorm2d(b), act())


class Classifier(nn.Sequential):
    """Layers, then global average pooling and a linear layer."""

    def __init__(self, *layers: nn.Module, width: int) -> None:
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3))


class Residual(nn.Module):
    def __init__(self, a: int, b: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(a, b, stride=stride), nn.Conv2d(b, b, 3, padding=1, bias=False), nn.BatchNorm2d(b)
        )
        self.skip = nn.Sequential(nn.Conv2d(a, b, 1, stride, bias=False), nn.BatchNorm2d(b)) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + (x if self.skip is None else self.skip(x)))


class SqueezeExcite(nn.Module):
    def __init__(self, a: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(a, 2, 1), nn.Conv2d(2, a, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * functional.hardsigmoid(self.up(functional.relu(self.down(x.mean((2, 3), keepdim=True)))))


class Inverted(nn.Module):
    def __init__(self, a: int) -> None:
        super().__init__()
        wide = 2 * a
        self.body = nn.Sequential(
            conv(a, wide, 1, act=nn.Hardswish),
            conv(wide, wide, 3, groups=wide, act=nn.Hardswish),
            SqueezeExcite(wide),
            nn.Conv2d(wide, a, 1, bias=False),
            nn.BatchNorm2d(a),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Dense(nn.Module):
    def __init__(self, a: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(a + i * growth), nn.ReLU(), nn.Conv2d(a + i * growth, growth, 3, padding=1))
            for i in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


class Branches(nn.Module):
    def __init__(self, a: int) -> None:
        super().__init__()
        self.pool = nn.Sequential(nn.AvgPool2d(3, 1, 1), conv(a, 2, 1))
        self.peak = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(a, 2, 1))
        self.wide = nn.Sequential(conv(a, 2, 1), conv(2, 3, 5))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.pool(x), self.peak(x), self.wide(x)], 1)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.qkv, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(n, t, c))


class Block(nn.Module):
    def __init__(self, width: int, own: bool) -> None:
        super().__init__()
        self.attention = Attention(width, 2) if own else nn.MultiheadAttention(width, 2, batch_first=True)
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        h = self.before(x)
        h = self.attention(h) if isinstance(self.attention, Attention) else self.attention(h, h, h)[0]
        x = x + h
        return x + self.mlp(self.after(x))


class ViT(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token, self.place = nn.Parameter(torch.randn(1, 1, width)), nn.Parameter(torch.randn(1, 5, width))
        self.blocks = nn.Sequential(Block(width, own=True), Block(width, own=False))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place
        return self.head(self.norm(self.blocks(x))[:, 0])


class Windows(nn.Module):
    """As in Swin: shifted windows with a position bias, then patches merged."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.patches, self.block = nn.Conv2d(3, width, 2, 2), Block(width, own=True)
        self.norm, self.merge, self.head = nn.LayerNorm(4 * width), nn.Linear(4 * width, width), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).permute(0, 2, 3, 1)
        n, h, w, c = x.shape
        x = torch.roll(x, (-1, -1), (1, 2)).view(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5)
        x = self.block(x.reshape(-1, 4, c)).view(n, h // 2, w // 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5)
        x = torch.roll(x.reshape(n, h, w, c), (1, 1), (1, 2))
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        return self.head(self.merge(self.norm(x)).mean((1, 2)))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.top, self.middle, self.bottom = conv(3, 4), conv(4, 6), conv(6, 8)
        self.up, self.join, self.head = nn.ConvTranspose2d(8, 6, 2, 2), conv(12, 4), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.top(x)
        b = self.middle(functional.max_pool2d(a, 2))
        c = self.bottom(functional.avg_pool2d(b, 2))
        b = self.join(torch.cat([self.up(c), b], 1))
        b = functional.interpolate(b, scale_factor=2, mode="bilinear", align_corners=False)
        return self.head(torch.cat([a, b], 1))


class Shuffle(nn.Module):
    """Channel split and shuffle, pixel shuffle, group and instance normalisation, reflected borders."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.own = nn.Conv2d(3, 8, 3, 2), conv(4, 4, groups=4, act=nn.SiLU)
        self.norms = nn.Sequential(nn.GroupNorm(2, 8), nn.PReLU(8), nn.InstanceNorm2d(8, affine=True))
        self.head = nn.Conv2d(2, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.conv(functional.pad(x, (1, 1, 1, 1), mode="reflect")).chunk(2, 1)
        x = torch.cat([left, self.own(right)], 1)
        n, c, h, w = x.shape
        x = self.norms(x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))
        return self.head(functional.pixel_shuffle(x, 2)).flatten(1).logsumexp(1)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet": lambda: Classifier(
        conv(3, 4, stride=2), nn.MaxPool2d(3, 2, 1), Residual(4, 4, 1), Residual(4, 6, 2), width=6
    ),
    "mobilenet": lambda: Classifier(conv(3, 4, stride=2, act=nn.Hardswish), Inverted(4), Inverted(4), width=4),
    "densenet": lambda: Classifier(
        nn.Conv2d(3, 4, 3), Dense(4, 2, 3), nn.Conv2d(10, 4, 1), nn.AvgPool2d(2), Dense(4, 2, 2), width=8
    ),
    "inception": lambda: Classifier(conv(3, 4, stride=2), Branches(4), nn.MaxPool2d(2, ceil_mode=True), width=7),
    "alexnet": lambda: Classifier(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.LocalResponseNorm(3), nn.MaxPool2d(3, 2), width=4),
    "vit": ViT,
    "swin": Windows,
    "unet": UNet,
    "shuffle": Shuffle,
}


SINGLE = {"inception"}
CASES = [(name, exporter) for name in NETWORKS for exporter in ("dynamo", "torchscript")]


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = NETWORKS[name]().eval().to(torch.float32 if name in SINGLE else torch.float64)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics as of a trained network
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model


def exported(model: nn.Module, x: Tensor, exporter: str, folded: bool = True) -> onnx.ModelProto:
    """Return *model* as PyTorch exports it: batch normalisation *folded* into kernels, the batch axis symbolic."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            shapes = ({0: torch.export.Dim.DYNAMIC},)
            return torch.onnx.export(model, (x,), dynamo=True, dynamic_shapes=shapes, optimize=folded).model_proto
        file = io.BytesIO()
        mode = torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE
        torch.onnx.export(
            model,
            (x,),
            file,
            dynamo=False,
            opset_version=17,
            training=mode,
            do_constant_folding=folded,
            input_names=["x"],
            dynamic_axes={"x": {0: "batch"}},
        )
        return onnx.load_from_string(file.getvalue())


@pytest.mark.parametrize(("name", "exporter"), CASES)
def test_input_gradient_is_that_of_autograd(name: str, exporter: str) -> None:
    agrees(name, exporter)


def test_batch_normalization_left_in_place() -> None:
    model = agrees("resnet", "torchscript", folded=False)
    assert "BatchNormalization" in {node.op_type for node in model.graph.node}


def agrees(name: str, exporter: str, folded: bool = True) -> onnx.ModelProto:
    """Assert that the gradient at a random cotangent is autograd's; return the exported model."""
    model = network(name)
    x = torch.randn(2, 3, 8, 8, dtype=next(model.parameters()).dtype, requires_grad=True)
    y = model(x)
    dy = torch.randn_like(y)
    (expected,) = torch.autograd.grad(y, x, dy)
    proto = exported(model, x.detach(), exporter, folded)
    gradient = vjp(proto)
    source, cotangent = (value.name for value in gradient.graph.input)
    compute = run if name in SINGLE else evaluate
    results = compute(gradient, {source: x.detach().numpy(), cotangent: dy.numpy()})
    for tensor, exact in ((gradient.graph.output[0].name, y.detach()), (f"{source}.gradient", expected)):
        error = np.linalg.norm(results[tensor] - exact.numpy()) / np.linalg.norm(exact)
        assert error <= RTOL[results[tensor].dtype.name], f"{tensor} is off by {error:.1e}"
    return proto
