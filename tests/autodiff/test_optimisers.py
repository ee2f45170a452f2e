"""Files that the common optimisers and quantisers write: gradients against the plain file's, and Grad-CAM on them."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.autodiff import vjp
from onnxcam.errors import ModelError
from onnxcam.graph.io import load
from onnxcam.testing import run
from tests.autodiff.cases import normal
from tests.autodiff.networks import exported
from tests.autodiff.optimised import LEVELS, optimised
from tests.networks import export
from tests.optional import functional, nn, torch

X = normal(2, 3, 16, 16)
U = normal(2, 3)
PHOTO = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)


class Block(nn.Module):
    """A transformer block as BERT has it, of 2 heads of 8 channels: optimisers know it."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(16, 16) for _ in range(4))
        self.up, self.down, self.before, self.after = nn.Linear(16, 32), nn.Linear(32, 16), Norm(), Norm()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, c = x.shape
        y = self.before(x)
        q, k, v = (part(y).view(n, t, 2, 8) for part in (self.q, self.k, self.v))
        weights = (q.transpose(1, 2) @ k.permute(0, 2, 3, 1) / 8**0.5).softmax(-1)
        x = x + self.out((weights @ v.transpose(1, 2)).transpose(1, 2).contiguous().view(n, t, c))
        return x + self.down(functional.gelu(self.up(self.after(x))))


def Norm() -> nn.LayerNorm:
    return nn.LayerNorm(16)


class ViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches, self.blocks = nn.Conv2d(3, 16, 4, 4), nn.Sequential(Block(), Block())
        self.token, self.places = nn.Parameter(torch.randn(2, 1, 16)), nn.Parameter(torch.randn(1, 17, 16))
        self.norm, self.head = Norm(), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = self.blocks(torch.cat([self.token, x], 1) + self.places)
        return self.head(self.norm(x)[:, 0])


@cache
def plain(name: str) -> onnx.ModelProto:
    torch.manual_seed(0)
    module = ViT() if name == "vit" else exported.network(name).float()
    return export(module, torch.from_numpy(X), dynamo=False, opset_version=17)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """These tools print, and warn."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def onnxsim(file: Path) -> onnx.ModelProto:
    simplifier = pytest.importorskip("onnxsim", reason="onnxsim is not installed")
    return simplifier.simplify(onnx.load(file))[0]


def onnxslim(file: Path) -> onnx.ModelProto:
    return pytest.importorskip("onnxslim", reason="onnxslim is not installed").slim(onnx.load(file))


def half(file: Path, **settings: Any) -> onnx.ModelProto:
    float16 = pytest.importorskip("onnxconverter_common.float16", reason="onnxconverter-common is not installed")
    return float16.convert_float_to_float16(onnx.load(file), **settings)


def mixed(file: Path) -> onnx.ModelProto:
    tool = pytest.importorskip("onnxconverter_common.auto_mixed_precision", reason="onnxconverter-common is missing")
    return tool.auto_convert_mixed_precision(onnx.load(file), {"x": X}, rtol=0.1, atol=0.01, keep_io_types=True)


def transformers(file: Path, half: bool = False, level: int = 0) -> onnx.ModelProto:
    from onnxruntime.transformers import optimizer

    fused = optimizer.optimize_model(str(file), model_type="vit", num_heads=2, hidden_size=16, opt_level=level)
    if half:
        fused.convert_float_to_float16(keep_io_types=True)
    fused.save_model_to_file(str(file))
    return onnx.load(file)


def static(file: Path, **settings: Any) -> onnx.ModelProto:
    """Calibrated on more than the input itself, so that no gradient is clipped away at the ends of the range."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter([{"x": scale * X} for scale in np.float32([1, 1.5, -1.5])])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.batches, None)

    settings = {key: QuantType[value] if key.endswith("type") else value for key, value in settings.items()}
    if "quant_format" in settings:
        settings["quant_format"] = QuantFormat[settings["quant_format"]]
    quantize_static(file, file.with_suffix(".q.onnx"), Reader(), **settings)
    return onnx.load(file.with_suffix(".q.onnx"))


def dynamic(file: Path, per_channel: bool = False, fused: bool = False) -> onnx.ModelProto:
    from onnxruntime.quantization import quantize_dynamic

    if fused:
        transformers(file)
    extra = {"DefaultTensorType": onnx.TensorProto.FLOAT}
    quantize_dynamic(file, file.with_suffix(".q.onnx"), per_channel=per_channel, extra_options=extra)
    return onnx.load(file.with_suffix(".q.onnx"))


def weights(file: Path, bits: int, quant_format: str) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantFormat, matmul_nbits_quantizer

    config = matmul_nbits_quantizer.DefaultWeightOnlyQuantConfig(
        block_size=16, is_symmetric=bits == 8, bits=bits, quant_format=QuantFormat[quant_format]
    )
    tool = matmul_nbits_quantizer.MatMulNBitsQuantizer(onnx.load(file), algo_config=config)
    tool.process()
    return tool.model.model


@dataclass(frozen=True)
class Tool:
    """One way to write a file, an operator that shows that it did, and how near its gradient comes to the plain one."""

    write: Callable[..., onnx.ModelProto]
    settings: dict[str, Any]
    shows: str
    cosine: float = 0.9999
    networks: tuple[str, ...] = ("mobilenet", "vit")


INT8 = {"per_channel": True, "weight_type": "QInt8"}
VIT, CNN, ALL = ("vit",), ("mobilenet", "resnet"), ("mobilenet", "resnet", "vit")
TOOLS = {
    "onnxsim": Tool(onnxsim, {}, ""),
    "onnxslim": Tool(onnxslim, {}, ""),
    "half": Tool(half, {}, "", 0.999, ALL),
    "half, float ends": Tool(half, {"keep_io_types": True}, "Cast", 0.999, ALL),
    "mixed precision": Tool(mixed, {}, "Cast", 0.999),
    "transformers": Tool(transformers, {}, "Attention", networks=VIT),
    "transformers, fused": Tool(transformers, {"level": 2}, "BiasGelu", networks=VIT),
    "transformers, half": Tool(transformers, {"half": True}, "Attention", 0.999, VIT),
    "QDQ": Tool(static, {}, "DequantizeLinear", 0.97),
    "QDQ, per channel": Tool(
        static, {**INT8, "activation_type": "QInt8"}, "DequantizeLinear", 0.95
    ),  # the largest code counts as clipped
    "QDQ, int16": Tool(static, {**INT8, "activation_type": "QInt16"}, "DequantizeLinear", 0.999),
    "QDQ, int4": Tool(static, {"per_channel": True, "weight_type": "QInt4"}, "DequantizeLinear", 0.8),
    "QOperator": Tool(static, {**INT8, "quant_format": "QOperator"}, "QLinearConv", 0.97),
    "dynamic": Tool(dynamic, {}, "MatMulInteger", 0.99),
    "dynamic, per channel": Tool(dynamic, {"per_channel": True}, "MatMulInteger", 0.99),
    "dynamic, transformers": Tool(dynamic, {"fused": True}, "QAttention", 0.99, VIT),
    "weights of 4 bits": Tool(weights, {"bits": 4, "quant_format": "QOperator"}, "MatMulNBits", 0.95, VIT),
    "weights of 4 bits, QDQ": Tool(weights, {"bits": 4, "quant_format": "QDQ"}, "DequantizeLinear", 0.95, VIT),
    "weights of 8 bits": Tool(weights, {"bits": 8, "quant_format": "QOperator"}, "MatMulNBits", 0.999, VIT),
}
FILES = [(tool, network) for tool, entry in TOOLS.items() for network in entry.networks]


@cache
def written(tool: str, network: str) -> onnx.ModelProto:
    with TemporaryDirectory() as folder, quiet():
        file = Path(folder) / "model.onnx"
        onnx.save(plain(network), file)
        return TOOLS[tool].write(file, **TOOLS[tool].settings)


def gradient(model: onnx.ModelProto) -> np.ndarray:
    (x,), (y,) = model.graph.input, model.graph.output
    dtypes = [onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type) for value in (x, y)]
    feeds = {x.name: X.astype(dtypes[0]), f"{y.name}.cotangent": U.astype(dtypes[1])}
    return run(vjp(model), feeds)[f"{x.name}.gradient"].astype(np.float32)


@cache
def plain_gradient(network: str) -> np.ndarray:
    return gradient(plain(network))


@cache
def plain_map(network: str) -> np.ndarray:
    return Explainer(plain(network), preprocess="unit")(PHOTO, target=1).raw


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.vdot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.mark.parametrize(("tool", "network"), FILES)
def test_the_gradient_is_that_of_the_plain_file(tool: str, network: str) -> None:
    model = written(tool, network)
    assert TOOLS[tool].shows in {node.op_type for node in model.graph.node} | {""}
    assert cosine(gradient(model), plain_gradient(network)) >= TOOLS[tool].cosine


@pytest.mark.parametrize(("tool", "network"), FILES)
def test_gradcam_works(tool: str, network: str) -> None:
    explanation = Explainer(written(tool, network), preprocess="unit")(PHOTO, target=1)
    assert explanation.raw.shape == plain_map(network).shape
    assert np.isfinite(explanation.raw).all()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("tool", "network"),
    [
        ("QDQ, per channel", "resnet"),
        ("QDQ", "mobilenet"),
        ("QDQ", "vit"),
        ("QOperator", "resnet"),
        ("dynamic", "vit"),
        ("transformers", "vit"),
    ],
)
def test_what_onnxruntime_makes_of_them(tool: str, network: str, level: str, tmp_path: Path) -> None:
    """Integer kernels round some sums otherwise than the spelt-out file does."""
    model = written(tool, network)
    twin = optimised(model, level, tmp_path)
    assert cosine(gradient(twin), gradient(model)) >= 0.99
    assert Explainer(twin, preprocess="unit")(PHOTO, target=1).raw.shape == plain_map(network).shape


def test_files_of_another_format_are_refused(tmp_path: Path) -> None:
    from onnxruntime.tools.convert_onnx_models_to_ort import OptimizationStyle, convert_onnx_models_to_ort

    onnx.save(plain("resnet"), tmp_path / "model.onnx")
    with quiet():
        convert_onnx_models_to_ort(tmp_path, optimization_styles=[OptimizationStyle.Fixed])
    (file,) = tmp_path.glob("*.ort")
    with pytest.raises(ModelError, match=r"is an ONNX Runtime flatbuffer; give the \.onnx file"):
        load(file)


def rms(opset: int) -> onnx.ModelProto:
    """A root mean square normalisation, spelt out as exporters do."""
    model = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : {opset}]>
    g (float[2, 3, 8] x) => (float[2, 3, 8] y) <float two = {{2}}, float e = {{0.01}}>
    {{
        r = Relu(x) p = Pow(r, two) m = ReduceMean <axes = [-1]>(p) v = Add(m, e) s = Sqrt(v)
        d = Div(r, s) y = Mul(d, w)
    }}
    """)
    model.graph.initializer.append(onnx.numpy_helper.from_array(normal(8), "w"))
    return model


@pytest.mark.parametrize("opset", [13, 17])
def test_an_operator_that_onnxruntime_puts_into_the_default_domain(opset: int, tmp_path: Path) -> None:
    """onnx's checker and its version converter know nothing of SimplifiedLayerNormalization."""
    model = optimised(rms(opset), "extended", tmp_path)
    assert ("", "SimplifiedLayerNormalization") in {(node.domain, node.op_type) for node in model.graph.node}
    feeds = {"x": normal(2, 3, 8), "y.cotangent": normal(2, 3, 8, seed=1)}
    expected, actual = (run(vjp(twin), feeds)["x.gradient"] for twin in (rms(opset), model))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_other_operators_unknown_to_onnx_are_still_refused() -> None:
    model = rms(17)
    model.graph.node[0].op_type = "Relou"
    with pytest.raises(ModelError, match="No Op registered for Relou"):
        load(model)
