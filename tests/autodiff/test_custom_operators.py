"""Other people's operators: in a library for ONNX Runtime, and as functions of the model, with rules of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam import Explainer, engine
from onnxcam.autodiff import STANDARD, register, vjp
from onnxcam.errors import EngineError, MissingRuleError
from onnxcam.testing import run
from tests.autodiff.cases import normal

CUBE = """
<ir_version: 10, opset_import: ["" : 18, "ai.onnx.contrib" : 1]>
g (float[n, 3, 4, 4] x) => (float[n, 2] logits) <float[n, 3, 4, 4] c, float[3, 2] w = {1, -1, 2, 0.5, -3, 1}>
{ c = ai.onnx.contrib.Cube(x) p = GlobalAveragePool(c) f = Flatten(p) logits = MatMul(f, w) }
"""


def cube(op: Any, node: Any, dy: Any, x: Any) -> tuple[Any]:
    """y = x³: dx = 3 x² dy."""
    return (op.Mul(dy, op.Mul(op.Mul(x, x), 3.0)),)


@pytest.fixture(scope="module")
def with_cube() -> str:
    """A library of operators for ONNX Runtime, with one in Python in it."""
    extensions = pytest.importorskip("onnxruntime_extensions")
    f32 = extensions.PyCustomOpDef.dt_float

    @extensions.onnx_op(op_type="Cube", inputs=[f32], outputs=[f32])
    def Cube(x: np.ndarray) -> np.ndarray:
        return x**3

    return str(extensions.get_library_path())


@pytest.fixture
def library(with_cube: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """That library, which no other test is to know of."""
    monkeypatch.setattr(engine, "_LIBRARIES", [])
    return with_cube


def test_an_operator_of_a_library(library: str) -> None:
    model, x = onnx.parser.parse_model(CUBE), normal(2, 3, 4, 4)
    with pytest.raises(EngineError, match=r"ai\.onnx\.contrib"):
        run(model, {"x": x})
    with pytest.raises(MissingRuleError, match=r"ai\.onnx\.contrib::Cube"):
        vjp(model)
    engine.register_custom_ops(library)
    rules = STANDARD.replace("with cube", {("ai.onnx.contrib", "Cube"): cube})
    u = normal(2, 2)
    results = run(vjp(model, rules=rules), {"x": x, "logits.cotangent": u})
    w = np.asarray([[1, -1], [2, 0.5], [-3, 1]], np.float32)
    np.testing.assert_allclose(results["logits"], (x**3).mean((2, 3)) @ w, rtol=1e-4, atol=1e-5)
    expected = 3 * x**2 * (u @ w.T)[:, :, None, None] / 16
    np.testing.assert_allclose(results["x.gradient"], expected, rtol=1e-4, atol=1e-5)


def test_every_method_works_through_it(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.register_custom_ops(library)
    row = STANDARD.replace("", {("ai.onnx.contrib", "Cube"): cube})["ai.onnx.contrib", "Cube"]
    monkeypatch.setitem(STANDARD._rows.maps[0], ("ai.onnx.contrib", "Cube"), row)
    x = normal(2, 3, 4, 4)
    explainer = Explainer(onnx.parser.parse_model(CUBE), method="gradient", preprocess="unit")
    weights = np.asarray([1, 2, -3], np.float32)
    expected = 3 * x**2 * weights[:, None, None] / 16
    np.testing.assert_allclose(explainer.attribute(x, target=0), expected, rtol=1e-4, atol=1e-5)


def test_no_such_library(tmp_path: Path) -> None:
    (tmp_path / "none.so").write_bytes(b"no library")
    for path in (tmp_path / "missing.so", tmp_path / "none.so"):
        with pytest.raises(EngineError, match=rf"cannot load the operators of '.*{path.name}'"):
            engine.register_custom_ops(path)


FUNCTION = """
<ir_version: 10, opset_import: ["" : 18, "my.ops" : 1]>
g (float[2, 3] x) => (float[2, 3] y) { a = my.ops.Swish(x) b = my.ops.Twice(a) y = Add(b, x) }
<domain: "my.ops", opset_import: ["" : 18]> Swish (x) => (y) { s = Sigmoid(x) y = Mul(x, s) }
<domain: "my.ops", opset_import: ["" : 18]> Twice (x) => (y) { y = Add(x, x) }
"""


def test_a_function_of_the_model_with_a_rule_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays a function; the one without a rule is inlined."""
    monkeypatch.setattr(STANDARD._rows, "maps", [dict(STANDARD._rows.maps[0])])
    register("Swish", lambda op, node, dy, x: (op.Mul(dy, 7.0),), domain="my.ops")
    model = onnx.parser.parse_model(FUNCTION)
    twin = vjp(model)
    assert [(node.domain, node.op_type) for node in twin.graph.node[:3]] == [
        ("my.ops", "Swish"),
        ("", "Add"),
        ("", "Add"),
    ]
    assert [function.name for function in twin.functions] == ["Swish"]
    x, u = normal(2, 3), normal(2, 3, seed=1)
    results = run(twin, {"x": x, "y.cotangent": u})
    np.testing.assert_allclose(results["y"], run(model, {"x": x})["y"], rtol=1e-6)
    np.testing.assert_allclose(results["x.gradient"], 15 * u, rtol=1e-6)  # 7 from the rule, twice, and 1
