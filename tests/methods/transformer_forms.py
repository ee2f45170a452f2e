"""One small vision transformer in the forms in which files hold it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx

from tests.autodiff.optimised import optimised
from tests.networks import export
from tests.optional import functional, nn, torch

X = np.random.default_rng(3).standard_normal((2, 3, 16, 16)).astype(np.float32)


class Block(nn.Module):
    """A transformer block of 2 heads of 8 channels, as the optimisers know it from BERT; or with one fused operator."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.q, self.k, self.v, self.out = (nn.Linear(16, 16) for _ in range(4))
        self.up, self.down, self.before, self.after = nn.Linear(16, 32), nn.Linear(32, 16), norm(), norm()

    def forward(self, x):
        n, t, c = x.shape
        y = self.before(x)
        q, k, v = (part(y).view(n, t, 2, 8) for part in (self.q, self.k, self.v))
        if self.fused:
            y = functional.scaled_dot_product_attention(*(part.transpose(1, 2) for part in (q, k, v)))
        else:
            y = (q.transpose(1, 2) @ k.permute(0, 2, 3, 1) / 8**0.5).softmax(-1) @ v.transpose(1, 2)
        x = x + self.out(y.transpose(1, 2).contiguous().view(n, t, c))
        return x + self.down(functional.gelu(self.up(self.after(x))))


def norm():
    return nn.LayerNorm(16)


class ViT(nn.Module):
    """Two blocks over 16 patches and a class token."""

    def __init__(self, fused: bool = False) -> None:
        super().__init__()
        self.patches, self.blocks = nn.Conv2d(3, 16, 4, 4), nn.Sequential(Block(fused), Block(fused))
        self.token, self.places = nn.Parameter(torch.randn(2, 1, 16)), nn.Parameter(torch.randn(1, 17, 16))
        self.norm, self.head = norm(), nn.Linear(16, 3)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = self.blocks(torch.cat([self.token, x], 1) + self.places)
        return self.head(self.norm(x)[:, 0])


FORMS = {
    "dynamo": "LayerNormalization",
    "torchscript": "LayerNormalization",
    "norms and activations written out": "Erf",
    "onnx attention": "Attention",
    "onnxruntime": "Gelu",
    "onnxruntime.transformers": "Attention",
    "onnxruntime.transformers, fused": "BiasGelu",
    "onnxruntime.transformers, several inputs": "MultiHeadAttention",
}
"""The forms, with an operator that each holds."""


@cache
def _exported(fused: bool, dynamo: bool, opset: int) -> onnx.ModelProto:
    torch.manual_seed(0)
    return export(ViT(fused), torch.from_numpy(X), dynamo=dynamo, opset_version=opset)


def form(name: str, folder: Path) -> onnx.ModelProto:
    """Return the network in the form *name*."""
    if name == "dynamo":
        return _exported(False, True, 20)
    if name == "norms and activations written out":
        return _exported(False, False, 14)
    if name == "onnx attention":
        return _exported(True, True, 23)
    plain = _exported(False, False, 17)
    if name == "torchscript":
        return plain
    if name == "onnxruntime":
        return optimised(plain, "all", folder)
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions

    onnx.save(plain, folder / "plain.onnx")
    options = FusionOptions("vit")
    options.use_multi_head_attention = name.endswith("several inputs")
    level = 2 if name.endswith("fused") else 0
    fused = optimizer.optimize_model(
        str(folder / "plain.onnx"), "vit", num_heads=2, hidden_size=16, opt_level=level, optimization_options=options
    )
    fused.save_model_to_file(str(folder / "fused.onnx"))
    return onnx.load(folder / "fused.onnx")
