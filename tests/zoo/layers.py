"""Conventions of layers and of inputs: how activations lie in memory, and which axes an image has."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx

from onnxcam import Explainer, Explanation
from tests.structure import standins
from tests.structure.standins import Net
from tests.zoo.convention import Convention

__all__ = ["CONVENTIONS"]

TORCHSCRIPT = "torch.onnx.export (dynamo=False), open batch"
CHANNELS = np.linspace(0.2, 1.8, 16, dtype=np.float32)
"""How strongly each channel answers to what is bright."""


class Bright(Net):
    """A network whose class 1 is "bright somewhere": convolutions take means, and attention adds little."""

    def random(self, *shape: int) -> Any:
        """Return weights of a mean for a convolution, of class 1 for the head, else small ones."""
        if len(shape) == 4:
            channels = CHANNELS[: shape[0], None, None, None]
            return np.broadcast_to(channels / np.prod(shape[1:]), shape).astype(np.float32)
        if shape == (16, 5):
            return np.outer(CHANNELS - CHANNELS.mean(), [0, 1, -1, 0, 0]).astype(np.float32)
        return np.float32(0.05) * super().random(*shape)


def bright(standin: Callable[[Net], onnx.ModelProto]) -> onnx.ModelProto:
    """Return the stand-in as a network of `Bright`, written by PyTorch."""
    model = standin(Bright())
    model.producer_name = "pytorch"
    return model


def lies_in(size: str, source: str, explainer: Explainer, _: Explanation) -> None:
    """Test the size of the layer, and how its layout is known."""
    assert explainer.choice is not None
    assert explainer.choice.layer.size == size
    assert explainer.choice.source == source


def single(declared: str, to_chw: str, logits: str = "1, 2") -> onnx.ModelProto:
    """Return a network for one image without an axis of images."""
    last = "Squeeze(s, zero)" if logits == "2" else "Identity(s)"
    return onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 17]>
        main_graph ({declared} image) => (float[{logits}] logits)
        <float[2, 3, 4, 4] w = {{{", ".join(["0.02"] * 48 + ["-0.02"] * 48)}}}, float[2, 2] f = {{-1, 1, 1, -1}},
         int64[1] zero = {{0}}>
        {{
            {to_chw}
            b = Unsqueeze(chw, zero)
            c = Conv<strides = [4, 4]>(b, w)
            a = Relu(c)
            g = GlobalAveragePool(a)
            v = Flatten(g)
            s = MatMul(v, f)
            logits = {last}
        }}
    """)


BYTES = (
    "h = Cast<to = 1>(image) k = Constant<value_float = 127.5>() m = Sub(h, k) u = Div(m, k) "
    "chw = Transpose<perm = [2, 0, 1]>(u)"
)


CHW = "chw = Identity(image)"


def _stood_in(name: str, users: str, standin: Callable[[Net], onnx.ModelProto], source: str = "run") -> Convention:
    make, check = partial(bright, standin), partial(lies_in, "8 × 8", source)
    signature = f"logits [N, 5]; {(standin.__doc__ or '').splitlines()[0].rstrip('.')}"
    return Convention(name, TORCHSCRIPT, users, signature, make, "a classifier", check=check, target=1)


def _single(name: str, producer: str, users: str, *network: str) -> Convention:
    signature = f"image {network[0]}, without an axis of images"
    return Convention(name, producer, users, signature, partial(single, *network), "a classifier", target=1)


CONVENTIONS = [
    _stood_in("channel-shuffle", "ShuffleNet, NanoDet, PicoDet", standins.channel_shuffle, "graph"),
    _stood_in("windows", "MaxViT, CoAtNet", standins.windows),
    _stood_in("shifted-windows", "Swin", standins.shifted_windows, "graph"),
    _stood_in("mask-units", "Hiera", standins.unrolled),
    _stood_in("gathered-tokens", "masked autoencoders", standins.kept_tokens),
    _stood_in("dead-tokens", "CoaT, CaiT", standins.dead_tokens),
    _stood_in("computed-flatten", "ViT, DeiT, timm", standins.computed_flatten, "graph"),
    _stood_in("computed-class-token", "ViT of transformers", standins.class_token, "graph"),
    _stood_in("tokens-first", "OpenAI's CLIP, nn.TransformerEncoder", standins.tokens_first, "graph"),
    _stood_in("tokens-to-grid", "CoaT, PVT", standins.tokens_as_grid, "graph"),
    _single(
        "single-bytes-hwc", "tf2onnx, a preprocessing graph in front", "camera pipelines", "uint8[64, 64, 3]", BYTES
    ),
    _single("single-bytes-open", "tf2onnx, open size", "camera pipelines", "uint8[height, width, 3]", BYTES),
    _single(
        "single-float-chw", "torch.onnx.export of model(x[None])", "apps", "float[3, 64, 64]", "chw = Identity(image)"
    ),
    _single(
        "single-vector-of-scores",
        "torch.onnx.export of model(x[None])[0]",
        "apps",
        "float[3, 64, 64]",
        CHW,
        "2",
    ),
]
