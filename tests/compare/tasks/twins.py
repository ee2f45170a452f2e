"""A network of models/ as int8, well quantised and spoilt, and images for both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from models import letters, world
from onnxcam.compare.image_comparison import ImageComparison, compare_outcomes
from onnxcam.compare.outcome import Outcome, Prediction
from onnxcam.media import image
from onnxcam.model.description import ModelDescription

MODELS = Path(__file__).parents[3] / "models"
Draw = Callable[[np.random.Generator], NDArray[np.uint8]]


def scene(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw shapes."""
    return world.sample(rng).image


def line(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a word."""
    return letters.sample(rng).image


def drawn(folder: Path, draw: Draw = scene, count: int = 12) -> Path:
    """Write *count* images into *folder*."""
    folder.mkdir(exist_ok=True)
    for number in range(count):
        image.write(folder / f"{number:03}.png", draw(np.random.default_rng([7, number])))
    return folder


class _Calibration:
    """Prepared images, as `onnxruntime.quantization` reads them."""

    def __init__(self, model: Path, pictures: Path, count: int = 8) -> None:
        network = ModelDescription(model, "auto", None, None)
        network.open()
        self.feeds: Iterator[dict[str, Any]] = iter(
            [
                dict(network.look(network.preprocessing(image.read(path)), None, {}).feeds)
                for path in sorted(pictures.iterdir())[:count]
            ]
        )

    def get_next(self) -> dict[str, Any] | None:
        return next(self.feeds, None)


def quantised(model: Path, pictures: Path, path: Path, **options: Any) -> Path:
    """Write *model* as int8 (QDQ), calibrated on *pictures*; *options* of `quantize_static`."""
    quantization = pytest.importorskip("onnxruntime.quantization", reason="onnxruntime cannot quantise here")
    quantization.quantize_static(
        str(model),
        str(path),
        _Calibration(model, pictures),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        **{"per_channel": True, **options},
    )
    kept, made = onnx.load(model, load_external_data=False), onnx.load(path)
    del made.metadata_props[:]
    made.metadata_props.extend(kept.metadata_props)
    onnx.save(made, path)
    return path


def spoilt(int8: Path, path: Path, factor: float = 12, at: float = 0.5) -> Path:
    """Write *int8* with the scale of one activation divided by *factor*; *at* 0 is the first one, at 1 the last one."""
    model = onnx.load(int8)
    activations = [node.input[1] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    chosen = activations[round(at * (len(activations) - 1))]
    for tensor in model.graph.initializer:
        if tensor.name == chosen:
            scale = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(scale / factor, scale.dtype), chosen))
    onnx.save(model, path)
    return path


def compared(reference: Prediction, candidate: Prediction, names: Sequence[str] | None = None) -> ImageComparison:
    """Compare two predictions for one image, without maps."""
    first, second = (Outcome("a.png", "0" * 64, (64, 64), one, ()) for one in (reference, candidate))
    return compare_outcomes(first, second, names=names)


def rounded(model: Path, path: Path, steps: int = 127) -> Path:
    """Write *model* with its weights rounded to 2 *steps* + 1 values for each tensor: int8 weights by default."""
    made = onnx.load(model)
    for tensor in made.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.size > 16:
            scale = np.abs(array).max() / steps or 1
            tensor.CopyFrom(numpy_helper.from_array((np.rint(array / scale) * scale).astype(np.float32), tensor.name))
    onnx.save(made, path)
    return path


def blank(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw nothing: one grey."""
    return np.full((32, 128, 3), rng.integers(100, 140), np.uint8)


def headed(name: str, path: Path, task: str, nodes: str, *outputs: str) -> Path:
    """Write the network *name* of models/ with *nodes* behind its output, which they call `y`; *outputs* are new.

    Each output is ``name[length, …]``, without the batch. The card says *task*.
    """
    model = onnx.load(MODELS / f"{name}.onnx")
    for node in model.graph.node:
        node.output[:] = ["y" if one == model.graph.output[0].name else one for one in node.output]
    opset = next(one.version for one in model.opset_import if not one.domain)
    head = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": {opset}]> g (float[n] y) => (float[n] z) {{{nodes}}}'
    )
    model.graph.node.extend(head.graph.node)
    model.graph.initializer.extend(head.graph.initializer)
    del model.graph.output[:]
    for output in outputs:
        label, lengths = output.rstrip("]").split("[")
        shape = ["batch", *(int(one) for one in lengths.split(",") if one)]
        model.graph.output.append(helper.make_tensor_value_info(label, onnx.TensorProto.FLOAT, shape))
    card = {one.key: one for one in model.metadata_props}["onnxcam"]
    said = json.loads(card.value)
    card.value = json.dumps({"schema": said["schema"], "task": task, "preprocess": said["preprocess"]})
    onnx.save(model, path)
    return path


def untold(path: Path) -> Path:
    """Remove the task from the card of the file *path*."""
    model = onnx.load(path)
    card = {one.key: one for one in model.metadata_props}["onnxcam"]
    card.value = json.dumps({key: value for key, value in json.loads(card.value).items() if key != "task"})
    onnx.save(model, path)
    return path
