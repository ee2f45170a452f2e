"""Conventions of how a file is written: unsorted nodes, untrue or open shapes, weights as inputs."""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnx import TensorProto, helper

from tests.zoo.convention import Convention

__all__ = ["CONVENTIONS"]


def _torch_logits() -> onnx.ModelProto:
    """Return a network whose class 1 is "bright somewhere", as torchvision's classifiers are exported."""
    return onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 18], producer_name: "pytorch">
        main_graph (float[N, 3, 64, 64] input) => (float[N, 2] output)
        <float[2, 2] f = {-1.0, 0.0, 1.0, 0.0}, float[2] b = {0.0, 0.0}> {
            mean = ReduceMean<keepdims = 1>(input)
            r = Sub(input, mean)
            k = Constant<value = float[2, 3, 1, 1] {0.3, 0.3, 0.3, -0.3, -0.3, -0.3}> ()
            c = Conv<strides = [1, 1]>(r, k)
            a = Relu(c)
            p = AveragePool<kernel_shape = [4, 4], strides = [4, 4]>(a)
            g = GlobalAveragePool(p)
            v = Flatten(g)
            output = Gemm<transB = 1>(v, f, b)
        }
        """
    )


def _changed(change: Callable[[onnx.GraphProto], None]) -> Callable[[], onnx.ModelProto]:
    def make() -> onnx.ModelProto:
        model = _torch_logits()
        change(model.graph)
        return model

    return make


def _declare(kind: str, name: str, *shape: int | str) -> Callable[[], onnx.ModelProto]:
    """Declare *name*, one of the inputs, outputs or inner tensors (*kind*), with *shape*."""

    def change(graph: onnx.GraphProto) -> None:
        values = getattr(graph, kind)
        kept = [value for value in values if value.name != name]
        del values[:]
        values.extend([*kept, helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)])

    return _changed(change)


def _cast_at_the_end(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        node.input[:] = ["half" if name == "input" else name for name in node.input]
    graph.node.append(helper.make_node("Cast", ["input"], ["half"], to=TensorProto.FLOAT))


def _weights_as_inputs(graph: onnx.GraphProto) -> None:
    graph.input.extend(helper.make_tensor_value_info(w.name, w.data_type, w.dims) for w in graph.initializer)


def _nameless(graph: onnx.GraphProto) -> None:
    graph.ClearField("name")


def _of_old_files() -> onnx.ModelProto:
    model = _changed(_weights_as_inputs)()
    model.ir_version = 3
    return model


_SAME = "output [N, classes], logits"
CONVENTIONS = [
    Convention(name, producer, users, f"{_SAME}; {what}", make, "a classifier")
    for name, producer, users, what, make in [
        (
            "cast-at-the-end",
            "onnxconverter-common, float16",
            "files converted to half precision",
            "the Cast of the input is the last node",
            _changed(_cast_at_the_end),
        ),
        (
            "weights-as-inputs",
            "torch.onnx.export(keep_initializers_as_inputs=True)",
            "files for runtimes of IR version 3",
            "the weights are inputs too",
            _changed(_weights_as_inputs),
        ),
        (
            "ir-version-3",
            "exporters before ONNX 1.4",
            "the first ONNX model zoo",
            "IR version 3, the weights are inputs",
            _of_old_files,
        ),
        (
            "nameless-graph",
            "writers of protobuf that fill in what ONNX Runtime reads",
            "files that are not written by the onnx package",
            "the graph has no name",
            _changed(_nameless),
        ),
        (
            "paddle-lengths",
            "paddle2onnx",
            "PaddleOCR, PaddleClas",
            "lengths called p2o.DynamicDimension",
            _declare("input", "input", "p2o.DynamicDimension.0", 3, "p2o.DynamicDimension.1", "p2o.DynamicDimension.2"),
        ),
        (
            "tf2onnx-lengths",
            "tf2onnx",
            "Keras, TensorFlow",
            "lengths called unk__",
            _declare("output", "output", "unk__6", 2),
        ),
        (
            "minus-one",
            "writers of dim_value = -1",
            "files of older converters",
            "open lengths of -1",
            _declare("input", "input", -1, 3, 64, 64),
        ),
        (
            "wrong-output-rank",
            "torch.onnx.export, outputs edited by hand",
            "files whose declared outputs were edited",
            "the output is declared of rank 4",
            _declare("output", "output", "N", 2, 1, 1),
        ),
        (
            "wrong-class-count",
            "fine-tuned models with the signature of their base",
            "transfer learning",
            "the output is declared [1, 1000]",
            _declare("output", "output", 1, 1000),
        ),
        (
            "wrong-batch",
            "a file made batchable by a rename of its input's axis",
            "deployment scripts",
            "the output is declared [1, classes] for any batch",
            _declare("output", "output", 1, 2),
        ),
        (
            "wrong-inner-shape",
            "graph surgery without new shape inference",
            "edited files",
            "an inner tensor is declared of another rank",
            _declare("value_info", "a", 1, 2),
        ),
    ]
]
