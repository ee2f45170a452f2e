"""What devices lack: the table of operator lists, and what it says of models."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxcam import Explainer
from onnxcam.bake.bake import bake
from onnxcam.bake.providers import inspect, named, providers
from onnxcam.errors import ModelError, ProviderError
from onnxcam.media import heatmap
from tests.bake.baked import SHAPES, session, tensor

ROOT = Path(__file__).parents[2]
WANTED = ("cpu", "cuda", "tensorrt", "coreml", "nnapi", "qnn", "web", "openvino")


def model(nodes: list[Any], dtype: int = TensorProto.FLOAT, opset: int = 18, out: int | None = None) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", dtype, [1, 3, 8, 8])
    y = helper.make_tensor_value_info("y", out or dtype, None)
    graph = helper.make_graph(nodes, "g", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def lacks(source: Any, provider: str) -> list[tuple[str, int, str, str, tuple[str, ...]]]:
    (found,) = inspect(source, named(provider))
    return [(lack.operator, lack.opset, lack.dtype, lack.why, lack.nodes) for lack in found.lacks]


def test_the_table_names_source_and_date_of_each() -> None:
    table = providers()
    assert set(WANTED) <= table.keys()
    for provider in table.values():
        assert provider.source.startswith("https://")
        assert len(provider.date) == 7
        assert "Relu" in provider.kernels
        assert "Conv" in provider.kernels


def test_the_list_of_the_cpu_is_what_the_runtime_registers() -> None:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    version = ".".join(onnxruntime.__version__.split(".")[:2])
    cpu = providers()["cpu"]
    if cpu.version != f"ONNX Runtime {version}":
        pytest.skip(f"the table is of {cpu.version}, this is {version}")
    for kernel in state.get_all_opkernel_def():
        if kernel.domain not in ("", "com.microsoft"):
            continue
        entries = cpu.kernels[f"{kernel.domain}:{kernel.op_name}" if kernel.domain else kernel.op_name]
        first = kernel.version_range[0]
        entry = next(each for each in entries if each.first <= first and (each.last is None or first <= each.last))
        for name, types in kernel.type_constraints.items():
            assert {re.sub(r"^tensor\((\w+)\)$", r"\1", word) for word in types} <= entry.types[name]


def test_the_cpu_lacks_nothing_that_it_runs(tmp_path: Path) -> None:
    """The other methods are in test_bake.py."""
    assert lacks(bake(SHAPES, tmp_path / "b.onnx").path, "cpu") == []


def test_nodes_that_are_not_listed_are_named(tmp_path: Path) -> None:
    made = bake(SHAPES, tmp_path / "b.onnx")
    found = {operator: (why, nodes) for operator, _, _, why, nodes in lacks(made.path, "nnapi")}
    assert found["ArgMax"] == ("not in the list", ("onnxcam.ArgMax",))
    assert "Relu" not in found


def test_an_opset_or_a_dtype_that_is_not_listed() -> None:
    node = helper.make_node("HardSwish", ["x"], ["y"], "h")
    assert lacks(model([node], opset=22), "webgpu") == [
        ("HardSwish", 22, "float", "in the list as of opset 14 to 14 only", ("h",))
    ]
    node = helper.make_node("ArgMax", ["x"], ["y"], "a")
    whole = model([node], TensorProto.INT32, out=TensorProto.INT64)
    assert lacks(whole, "cuda") == [("ArgMax", 13, "int32", "not for int32", ("a",))]
    assert lacks(whole, "cpu") == []
    node = helper.make_node("Conv", ["x", "x"], ["y"], "c")
    assert lacks(model([node], TensorProto.FLOAT16), "cpu") == []  # which casts
    assert lacks(model([node], TensorProto.DOUBLE), "cpu") == [("Conv", 11, "double", "not for double", ("c",))]


def test_nodes_inside_branches_count_too() -> None:
    inner = helper.make_graph(
        [helper.make_node("Det", ["x"], ["d"], "inside")],
        "then",
        [],
        [helper.make_tensor_value_info("d", TensorProto.FLOAT, None)],
    )
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    nodes = [
        helper.make_node("Constant", [], ["c"], value=yes),
        helper.make_node("If", ["c"], ["y"], "choice", then_branch=inner, else_branch=inner),
    ]
    assert [lack[4] for lack in lacks(model(nodes), "tensorrt")] == [("inside", "inside")]


def test_fixed_shapes_and_opsets_where_a_provider_asks_for_them(tmp_path: Path) -> None:
    (found,) = inspect(SHAPES, named("qnn"))
    assert found.warnings == ["all shapes must be fixed; those of 'image' are not"]
    node = helper.make_node("Relu", ["x"], ["y"])
    (found,) = inspect(model([node], opset=8), named("tensorrt"))
    assert found.warnings[0] == "opset 8 is outside 9 to 24"


def test_the_methods_that_need_no_other_operators(tmp_path: Path) -> None:
    plain = inspect(SHAPES, named("web,webnn"))
    everywhere, some = (set(each.methods) for each in plain)
    assert {"cam", "gradcam", "eigencam", "lrp"} <= everywhere
    assert {"cam", "gradcam", "eigencam"} <= some
    assert "lrp" not in some  # ScatterND and the like
    baked = inspect(bake(SHAPES, tmp_path / "b.onnx", "lrp", target="input").path, named("web,webnn"))
    assert [each.methods for each in baked] == [each.methods for each in plain]


def test_gradcam_of_a_fixed_class_fits_phones(tmp_path: Path) -> None:
    single = onnx.load(SHAPES)
    for value in [*single.graph.input, *single.graph.output, *single.graph.value_info]:
        for dim in value.type.tensor_type.shape.dim:
            dim.dim_value = dim.dim_value or 1
    made = bake(single, tmp_path / "b.onnx", target="star", map_size="layer")
    for found in inspect(made.path, named("nnapi,coreml")):
        assert found.lacks == []
        assert "gradcam" in found.methods
    (found,) = session(made.path).run(["heatmap"], {"image": tensor()})
    raw = Explainer(SHAPES).attribute(tensor(), target="star")
    np.testing.assert_allclose(found[0], heatmap.normalize(raw[0]), atol=1e-4)


def test_a_network_that_scores_no_classes() -> None:
    (found,) = inspect(model([helper.make_node("Relu", ["x"], ["y"])]), named("nnapi"))
    assert found.lacks == []
    assert found.methods == []
    assert found.warnings[0].startswith("which methods would do is unknown: ")


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match=r"no operator list of 'nnapy'; there is all, cpu, .*Did you mean 'nnapi'"):
        named("cpu,nnapy")
    with pytest.raises(ProviderError, match="no operator list of ''"):
        named(",")
    with pytest.raises(ModelError, match="no such file"):
        inspect(tmp_path / "none.onnx", named("cpu"))
    broken = tmp_path / "table.json"
    nameless = '{"cpu": {"title": "", "version": "", "source": "", "date": "", "operators": {}}}'
    for text in ("{", '{"cpu": {}}', nameless):
        broken.write_text(text)
        with pytest.raises(ProviderError, match=r"table.json' is no table of providers: .*; see docs/providers.md"):
            providers(broken)


def test_the_command(onnxcam: Callable[..., Any], tmp_path: Path) -> None:
    made = bake(SHAPES, tmp_path / "b.onnx")
    shown = onnxcam("inspect", made.path, "--for", "nnapi,cpu")
    assert shown.code == 0
    assert "NNAPI (ONNX Runtime 1.32, 2026-11): 4 of 36 nodes are not in its list" in shown.out
    assert "these nodes run on the CPU; each group of them splits the graph once more" in shown.out
    assert "CPU (ONNX Runtime 1.32, 2026-11): has all 36 nodes" in shown.out
    entries = json.loads(onnxcam("inspect", made.path, "--for", "all", "--json").out)
    assert [each["provider"] for each in entries] == list(providers())
    assert onnxcam("inspect", made.path, "--for", "tpu").code == 2


def tool() -> Any:
    spec = importlib.util.spec_from_file_location("providers_tool", ROOT / "tools" / "providers.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_the_table_is_brought_up_to_date_from_what_is_published() -> None:
    reader = tool()
    page = (
        "## Operators implemented by XExecutionProvider\n|**Operator Domain:** *ai.onnx*||||\n"
        "|Abs|*in* X:**T**|13+|**T** = tensor(float), tensor(int8)|\n|||[6, 12]|**T** = tensor(float), tensor(int8)|\n"
        "|Cast|*in* X:**T1**|9|**T1** = tensor(bool)<br/> **T2** = tensor(float)|\n"
        "|**Operator Domain:** *com.microsoft*||||\n|Gelu|*in* X:**T**|1+|**T** = tensor(float)|\n"
        "## Operators implemented by another\n|Add|||13+|**T** = tensor(float)|\n"
    )
    assert reader.merged(reader.kernels(page, "XExecutionProvider"), {"Abs": "ours"}) == {
        "Abs": [{"opset": [6, 13], "types": {"T": "float int8"}, "note": "ours"}],
        "Cast": [{"opset": [9, 9], "types": {"T1": "bool", "T2": "float"}}],
        "com.microsoft:Gelu": [{"opset": [1, 1], "types": {"T": "float"}}],
    }
    rows = reader.opsets("| Abs | ai.onnx(6-12,13+); com.microsoft(1+) | |\n| [If](u) | [1-2](v), [11+](w) |\n", False)
    assert reader.merged(rows, {}) == {
        "Abs": [{"opset": [1, None]}],
        "If": [{"opset": [1, 2]}, {"opset": [11, None]}],
        "com.microsoft:Abs": [{"opset": [1, None]}],
    }
    assert list(reader.listed("|ai.onnx:Argmax|their words|\n|ai.onnx.Add||\n")) == [
        ("ArgMax", 1, None, {}),
        ("Add", 1, None, {}),
    ]
    assert list(reader.matrix("| Abs | Y | FP32, INT32 | words |\n| Det | N |\n")) == [
        ("Abs", 1, None, {"0": ["float", "int32", "double"]})
    ]
    assert np.all([key in providers()["cpu"].kernels for key in ("Conv", "com.microsoft:FusedConv")])
