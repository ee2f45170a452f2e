"""What ONNX Runtime opens, onnxcam opens: each file here is refused by onnx's checker, or declares an untrue shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxcam import Explainer
from onnxcam.autodiff import STANDARD
from onnxcam.engine import Session
from onnxcam.errors import ModelError
from onnxcam.graph.io import load
from onnxcam.passes import canonical
from tests.networks import HAND_X, hand_model

Change = Callable[[onnx.ModelProto], None]


def declared(name: str, *shape: Any, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def reverse(model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes[::-1])


def append_cast_of_the_input(model: onnx.ModelProto) -> None:
    """As converters to float16 do."""
    model.graph.node[0].input[0] = "half"
    model.graph.node.append(helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT))


def use_a_later_tensor_in_a_branch(model: onnx.ModelProto) -> None:
    last = model.graph.node[-1]
    last.output[0] = "before"
    double = helper.make_graph([helper.make_node("Add", ["before"] * 2, ["a2"])], "then", [], [declared("a2", 1)])
    same = helper.make_graph([helper.make_node("Identity", ["before"], ["a1"])], "else", [], [declared("a1", 1)])
    model.graph.node.insert(0, helper.make_node("If", ["yes"], ["logits"], then_branch=double, else_branch=same))
    model.graph.initializer.append(numpy_helper.from_array(np.array(False), "yes"))


def use_a_domain_without_import(model: onnx.ModelProto) -> None:
    model.graph.node.insert(1, helper.make_node("BiasGelu", ["c", "zeros"], ["unused"], domain="com.microsoft"))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(2, np.float32), "zeros"))


def remove_the_name_of_the_graph(model: onnx.ModelProto) -> None:
    model.graph.ClearField("name")


def declare_twice(model: onnx.ModelProto) -> None:
    model.graph.value_info.extend([declared("a", "n", 2, 2, 2), declared("a", "n", 2, 9)])


def declare_weights_of_another_rank(model: onnx.ModelProto) -> None:
    model.graph.value_info.append(declared("b", 1, 2))


def list_weights_as_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(declared("w", 2, 1, 1, 1))


def import_domains_that_nothing_uses(model: onnx.ModelProto) -> None:
    model.opset_import.extend([helper.make_opsetid("com.nobody", 3), helper.make_opsetid("", 17)])


def lower_the_ir_version(model: onnx.ModelProto) -> None:
    model.ir_version = 3


def add_an_unused_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(declared("training", dtype=TensorProto.BOOL))


def declare_no_shape_of_the_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.ClearField("shape")


def layer_of(name: str, *shape: Any) -> Change:
    return lambda model: model.graph.value_info.append(declared(name, *shape))


def output_of(*shape: Any) -> Change:
    return lambda model: model.graph.output[0].CopyFrom(declared("logits", *shape))


CHANGES: dict[str, Change] = {
    **{
        change.__name__: change
        for change in (
            reverse,
            append_cast_of_the_input,
            use_a_later_tensor_in_a_branch,
            use_a_domain_without_import,
            remove_the_name_of_the_graph,
            declare_twice,
            declare_weights_of_another_rank,
            list_weights_as_inputs,
            import_domains_that_nothing_uses,
            lower_the_ir_version,
            add_an_unused_input,
            declare_no_shape_of_the_input,
        )
    },
    "layer_of_another_rank": layer_of("a", "n", 2),
    "layer_of_another_size": layer_of("a", "n", 7, 9, 1),
    "output_of_rank_4": output_of("n", 2, 1, 1),
    "output_of_rank_1": output_of(2),
    "output_of_rank_0": output_of(),
    "output_of_more_classes": output_of(1, 1000),
    "output_of_nothing": output_of(0, 0),
    "output_of_other_symbols": output_of("classes", "n"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_onnx_runtime_runs_is_explained(change: Change) -> None:
    right, model = hand_model(), hand_model()
    change(model)
    expected, found = (Explainer(one, preprocess="none", layer="a", method="gradcam") for one in (right, model))
    Session(load(model), "cpu")  # ONNX Runtime accepts it
    np.testing.assert_allclose(found.attribute(HAND_X, 1), expected.attribute(HAND_X, 1), rtol=1e-6)
    np.testing.assert_allclose(found.scores(HAND_X, 1), [4.5])
    assert found.class_count == 2


def test_a_layer_of_untrue_rank_is_still_chosen() -> None:
    model = hand_model()
    layer_of("a", "n", 2)(model)
    explainer = Explainer(model, preprocess="none")
    assert explainer.choice is not None
    assert explainer.choice.layer.tensor == "a"


def test_a_cycle_is_refused_in_one_line() -> None:
    model = hand_model()
    model.graph.node[0].input[0] = "a"
    with pytest.raises(ModelError, match="its nodes form a cycle; export the model again"):
        load(model)


def hide_the_rank(model: onnx.ModelProto, shape: list[int], *declaration: Any) -> None:
    """Reshape the scores to *shape*, whose length only a run tells; declare *declaration*."""
    model.graph.node[-1].output[0] = "before"
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[n] x, float[n] before, float zero, int64[1] first, int64[1] count, int64[n] to) => (float[n] logits) {
        largest = ReduceMax<keepdims = 0>(x)
        nothing = Mul(largest, zero)
        whole = Cast<to = 7>(nothing)
        last = Add(whole, count)
        lengths = Slice(to, first, last)
        logits = Reshape(before, lengths)
    }
    """
    model.graph.node.extend(onnx.parser.parse_model(text).graph.node)
    values = {"zero": np.float32(0), "first": np.array([0]), "count": np.array([len(shape)]), "to": [*shape, 1]}
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(x), name) for name, x in values.items())
    model.graph.output[0].CopyFrom(declared("logits", *declaration))


@pytest.mark.parametrize(
    ("shape", "declaration"),
    [([1, 2], (1, 2)), ([1, 2, 1, 1], (1, 2)), ([1, 2], (1, 2, 1, 1)), ([1, 2], ("n", "classes")), ([1, 2], (1, 9))],
    ids=str,
)
def test_a_run_tells_the_rank_that_no_inference_knows(shape: list[int], declaration: tuple[Any, ...]) -> None:
    model = hand_model()
    hide_the_rank(model, shape, *declaration)
    explainer = Explainer(model, preprocess="none", layer="a")
    assert explainer.class_count == 2
    np.testing.assert_allclose(explainer.scores(HAND_X, 1), [4.5])
    np.testing.assert_allclose(
        explainer.attribute(HAND_X, 1), Explainer(hand_model(), preprocess="none", layer="a").attribute(HAND_X, 1)
    )


def test_rows_that_depend_on_the_image_stay_open() -> None:
    """`NonZero` finds the same number in all probe images: it is no property of the model."""
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 1, 2, 2] x) => (float[a, b] found)
    <int64[1] one = {1}, float zero = {0}, int64[3] to = {-1, 1, 1}, int64[1] first = {0}, int64[1] count = {2}> {
        relu = Relu(x)
        places = NonZero(relu)
        rows = Transpose(places)
        real = Cast<to = 1>(rows)
        largest = ReduceMax<keepdims = 0>(x)
        nothing = Mul(largest, zero)
        whole = Cast<to = 7>(nothing)
        last = Add(whole, count)
        lengths = Slice(to, first, last)
        found = Reshape(real, lengths)
    }
    """
    network = Explainer(onnx.parser.parse_model(text), preprocess="none", method="gradient").network
    shape = network.open().model.graph.outputs[0].shape
    assert shape is not None
    assert len(shape) == 2
    assert not isinstance(shape[0], int)


@pytest.mark.parametrize("opset", [12, 17, 21])
def test_functions_of_another_opset_are_read_as_the_models(opset: int) -> None:
    model = onnx.parser.parse_model(f"""
    <ir_version: 10, opset_import: ["" : 18, "local" : 1]>
    g (float[N, 3] x) => (float[N, 3] y) {{ y = local.head(x) }}
    <domain: "local", opset_import: ["" : {opset}]> head (a) => (b) {{ b = Softmax <axis = 1> (a) }}
    """)
    assert [node.op_type for node in canonical(load(model), STANDARD).graph] == ["Softmax"]
