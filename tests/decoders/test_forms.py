"""Forms in which decoders are exported: half precision, several images, fused operators of ONNX Runtime, no cache."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxcam
from onnxcam.decoders.load import join
from onnxcam.errors import ModelError
from onnxcam.targets.kinds import Text
from tests.decoders.exported import TOKENS, WIDTH, ExportedDecoder

TARGET = 'text="red star"'
DECODER = "decoder_model_merged.onnx"


def explained(folder: Path, image: np.ndarray, method: str = "gradient") -> tuple[float, np.ndarray]:
    found = onnxcam.Explainer(join(folder), method=method)(image, TARGET)
    return found.score, found.raw.ravel()


@pytest.mark.parametrize("parts", [[DECODER], [DECODER, "vision_encoder.onnx", "embed_tokens.onnx"]])
def test_half_precision(folder: Path, image: np.ndarray, parts: list[str]) -> None:
    converter = pytest.importorskip("onnxconverter_common.float16")
    score, expected = explained(folder, image)
    for name in parts:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of masks, the least number of float32
            model = converter.convert_float_to_float16(onnx.load(folder / name), keep_io_types=False)
        for cast in (node for node in model.graph.node if node.op_type == "Cast"):  # the converter forgets those
            (to,) = cast.attribute
            to.i = onnx.TensorProto.FLOAT16 if to.i == onnx.TensorProto.FLOAT else to.i
        onnx.save(model, folder / name)
    found, raw = explained(folder, image)
    assert found == pytest.approx(score, rel=2e-3)
    assert np.corrcoef(raw, expected)[0, 1] > 0.995
    assert onnxcam.Explainer(join(folder))(image).label


def test_images_in_sets_and_their_mask(folder: Path, image: np.ndarray) -> None:
    """An encoder as those of Idefics: images [N, K, C, H, W], and which pixels are no padding, bool [N, K, H, W]."""
    expected = explained(folder, image)
    path, make = folder / "vision_encoder.onnx", onnx.helper
    model = onnx.load(path)
    graph = model.graph
    for node in graph.node:
        node.input[:] = ["pixels" if name == "pixel_values" else name for name in node.input]
    added = [
        make.make_node("Cast", ["pixel_attention_mask"], ["mask"], to=onnx.TensorProto.FLOAT),
        make.make_node("Unsqueeze", ["mask", "axis"], ["masks"]),
        make.make_node("Mul", ["pixel_values", "masks"], ["masked"]),
        make.make_node("Reshape", ["masked", "flat"], ["pixels"]),
    ]
    for node in reversed(added):
        graph.node.insert(0, node)
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([2]), "axis"))
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, 3, 32, 32]), "flat"))
    del graph.input[:]
    graph.input.append(make.make_tensor_value_info("pixel_values", onnx.TensorProto.FLOAT, ["n", "k", 3, 32, 32]))
    graph.input.append(make.make_tensor_value_info("pixel_attention_mask", onnx.TensorProto.BOOL, ["n", "k", 32, 32]))
    onnx.save(model, path)
    found = explained(folder, image)
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-5 * abs(expected[1]).max())


def test_parts_in_several_folders(folder: Path, image: np.ndarray, tmp_path: Path) -> None:
    expected = explained(folder, image)
    other = tmp_path / "elsewhere" / "deep"
    other.mkdir(parents=True)
    shutil.move(folder / DECODER, other / DECODER)
    found = onnxcam.Explainer(join({"folder": folder, "decoder": other / DECODER}), method="gradient")(image, TARGET)
    np.testing.assert_allclose(found.raw.ravel(), expected[1], atol=1e-5 * abs(expected[1]).max())


@pytest.mark.parametrize("optional", [True, False], ids=["cache", "no-cache"])
def test_fused_operators_of_the_runtime(folder: Path, image: np.ndarray, optional: bool) -> None:
    """A decoder as ONNX Runtime's builder writes it; its gradient is that of central differences."""
    fused(folder / DECODER, cache=optional)
    explainer = onnxcam.Explainer(join(folder), method="gradient")
    pixels = explainer.prepare(image).tensor
    raw = explainer.attribute(pixels, TARGET)
    direction = np.sign(raw) / np.sqrt(raw.size)
    step = 0.02 * direction
    ends = [explainer.scores((pixels + sign * step).astype(np.float32), TARGET)[0] for sign in (1, -1)]
    slope = (ends[0] - ends[1]) / (2 * 0.02)
    assert slope == pytest.approx(float((raw * direction).sum()), rel=2e-2)
    found = onnxcam.Explainer(join(folder))(image)
    assert found.method == "attnlrp"
    assert found.label
    assert found.raw.any()


def fused(path: Path, cache: bool) -> None:
    """Write a decoder of one layer with GroupQueryAttention and SkipSimplifiedLayerNormalization."""
    rng, make, types, heads, groups = np.random.default_rng(0), onnx.helper, onnx.TensorProto, 3, 1
    size = WIDTH // heads
    angles = np.arange(128)[:, None] / 100 ** (np.arange(size // 2) / (size // 2))
    weights = {
        "scale": np.ones(WIDTH), "qkv": rng.normal(size=(WIDTH, WIDTH + 2 * groups * size)) / 4,
        "out": rng.normal(size=(WIDTH, WIDTH)) / 4, "head": rng.normal(size=(WIDTH, TOKENS)),
        "cos": np.cos(angles), "sin": np.sin(angles),
    }  # fmt: skip
    constants = [onnx.numpy_helper.from_array(x.astype(np.float32), name) for name, x in weights.items()]
    numbers = {"one": np.int32(1), "axis": np.array([1]), "last": np.int64(1)}
    constants += [onnx.numpy_helper.from_array(np.asarray(x), name) for name, x in numbers.items()]
    past = ["past_key_values.0.key", "past_key_values.0.value"] if cache else ["", ""]
    present = ["present.0.key", "present.0.value"]
    nodes = [
        make.make_node("ReduceSum", ["attention_mask", "axis"], ["count"], keepdims=0),
        make.make_node("Cast", ["count"], ["counts"], to=types.INT32),
        make.make_node("Sub", ["counts", "one"], ["lasts"]),
        make.make_node("Shape", ["attention_mask"], ["lengths"]),
        make.make_node("Gather", ["lengths", "last"], ["length"]),
        make.make_node("Cast", ["length"], ["total"], to=types.INT32),
        make.make_node("SimplifiedLayerNormalization", ["inputs_embeds", "scale"], ["normed"], epsilon=1e-5, axis=-1),
        make.make_node("MatMul", ["normed", "qkv"], ["packed"]),
        make.make_node(
            "GroupQueryAttention", ["packed", "", "", *past, "lasts", "total", "cos", "sin"], ["attended", *present],
            domain="com.microsoft", num_heads=heads, kv_num_heads=groups, do_rotary=1,
        ),
        make.make_node("MatMul", ["attended", "out"], ["projected"]),
        make.make_node(
            "SkipSimplifiedLayerNormalization", ["inputs_embeds", "projected", "scale"], ["final"],
            domain="com.microsoft", epsilon=1e-5,
        ),
        make.make_node("MatMul", ["final", "head"], ["logits"]),
    ]  # fmt: skip
    inputs = [
        make.make_tensor_value_info("inputs_embeds", types.FLOAT, ["n", "l", WIDTH]),
        make.make_tensor_value_info("attention_mask", types.INT64, ["n", "total"]),
    ]
    states = [make.make_tensor_value_info(x, types.FLOAT, ["n", groups, "past", size]) for x in past if x]
    outputs = [make.make_tensor_value_info("logits", types.FLOAT, ["n", "l", TOKENS])]
    outputs += [make.make_tensor_value_info(x, types.FLOAT, ["n", groups, "all", size]) for x in present if cache]
    graph = make.make_graph(nodes, "decoder", [*inputs, *states], outputs, constants)
    opsets = [make.make_opsetid("", 21), make.make_opsetid("com.microsoft", 1)]
    onnx.save(make.make_model(graph, opset_imports=opsets, ir_version=10), path)


def test_opsets_that_cannot_meet(folder: Path) -> None:
    model = onnx.load(folder / "embed_tokens.onnx")
    model.opset_import[0].version = 21
    model.graph.node[0].op_type = "Gather"
    onnx.save(model, folder / "embed_tokens.onnx")
    assert join(folder).opset_imports[""] == 21


def test_words_as_data(exported: ExportedDecoder, image: np.ndarray) -> None:
    explainer = onnxcam.Explainer(join(exported.folder), method="gradient")
    assert explainer(image, Text("red star", 1)).words == 'text="red star" at=1'
    assert str(Text("red star", 1)) == 'text="red star" at=1'


def test_bake_refuses(exported: ExportedDecoder, tmp_path: Path) -> None:
    from onnxcam.bake.bake import bake

    with pytest.raises((onnxcam.errors.TargetError, ModelError), match="whose words are inputs too, cannot be baked"):
        bake(join(exported.folder), tmp_path / "baked.onnx")
