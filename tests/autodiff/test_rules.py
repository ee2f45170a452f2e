"""Every rule: float64 against central differences, first and second order, then ONNX Runtime in float32."""

import importlib
from functools import cache

import numpy as np
import onnx
import pytest

from onnxcam.autodiff import STANDARD, vjp
from onnxcam.autodiff.rules import FAMILIES
from onnxcam.testing import check_grads, node_model
from tests.autodiff.cases import Case, normal

TABLE = {family: importlib.import_module(f"tests.autodiff.cases.{family}").CASES for family in FAMILIES}
CASES = [case for cases in TABLE.values() for case in cases]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradient(case: Case) -> None:
    case.run()


@pytest.mark.parametrize("case", [case for case in CASES if case.symbolic], ids=str)
def test_gradient_with_symbolic_shapes(case: Case) -> None:
    case.run(symbolic=True)


WHOLE_FILES = {"com.microsoft.nchwc", "onnxcam"}
"""Domains that tests/autodiff/test_fused.py covers."""


def test_every_rule_has_a_case_and_every_case_a_rule() -> None:
    rules = {key for key, row in STANDARD.items() if row is not None}
    cases = {case.op for case in CASES}
    expected = {operator for domain, operator in rules if domain not in WHOLE_FILES}
    assert expected <= cases <= {operator for _, operator in rules}


def test_the_check_catches_a_rule_that_is_wrong_by_a_thousandth() -> None:
    wrong = STANDARD.replace("wrong", {"Exp": lambda op, node, dy, x: (op.Mul(dy, op.Mul(node.outputs[0], 1.001)),)})
    x = normal(3, 4)
    with pytest.raises(AssertionError, match="the gradient of 'x' is off by"):
        check_grads(node_model("Exp", {"x": x}), {"x": x}, rules=wrong)
    check_grads(node_model("Exp", {"x": x}), {"x": x})


def test_the_check_holds_onnxruntime_against_the_reference() -> None:
    x = np.asarray([1.0, 2.0], np.float32)
    with pytest.raises(AssertionError, match="ONNX Runtime is off by"):
        check_grads(node_model("Exp", {"x": x}), {"x": x}, runtime_rtol=0.0)


def test_rules_are_closed() -> None:
    """Every operator that any rule emits has a rule, or none because nothing passes through it."""
    emitted = {(node.domain, node.op_type) for _, _, nodes in gradients() for node in nodes}
    assert emitted <= set(STANDARD)
    assert {domain for domain, _ in emitted} == {""}


@cache
def gradients() -> list[tuple[Case, int, list[onnx.NodeProto]]]:
    """Return by case the opset of the gradient and its nodes; those of the model stand before them, as they were."""
    return [(case, *appended(case)) for case in CASES]


def appended(case: Case) -> tuple[int, list[onnx.NodeProto]]:
    model = case.model()
    gradient = vjp(model)
    nodes = list(gradient.graph.node)
    count = len(model.graph.node)
    assert [(node.domain, node.op_type, *node.input, *node.output) for node in nodes[:count]] == [
        (node.domain, node.op_type, *node.input, *node.output) for node in model.graph.node
    ]
    return next(each.version for each in gradient.opset_import if each.domain == ""), nodes[count:]


def test_a_gradient_uses_no_operator_that_is_newer_than_the_model() -> None:
    """Compositions are spelt in operators of any age; what of them is placed is not newer than the model."""
    for case, opset, nodes in gradients():
        for node in nodes:
            assert onnx.defs.has(node.op_type, opset), f"{case}: {node.op_type} is newer than opset {opset}"
