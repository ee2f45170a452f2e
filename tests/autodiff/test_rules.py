"""Every rule: float64 against central differences, first and second order, then ONNX Runtime in float32."""

import importlib

import numpy as np
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


def test_every_rule_has_a_case_and_every_case_a_rule() -> None:
    rules = {key for key, row in STANDARD.items() if row is not None}
    cases = {case.op for case in CASES}
    assert {operator for domain, operator in rules if domain == ""} <= cases <= {operator for _, operator in rules}


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
    emitted = set()
    for case in CASES:
        model, gradient = case.model(), vjp(case.model())
        emitted |= {node.op_type for node in gradient.graph.node[len(model.graph.node) :]}
    assert {("", operator) for operator in emitted} <= set(STANDARD)
