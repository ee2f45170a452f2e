"""Cases that the reference evaluator lacks or gets wrong: ONNX Runtime is held against its own differences.

Its float32 is precise enough where the operator is linear, or linear between kinks that a small step does not reach:
there the difference quotient is exact for any step. Elsewhere it is one of fourth order, so that few bits go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from onnxcam.autodiff import vjp
from onnxcam.engine import Session
from onnxcam.graph.io import load
from onnxcam.testing import run
from tests.autodiff.cases import Case, case

MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class RuntimeCase(Case):
    """One node, and its gradient checked by ONNX Runtime alone."""

    step: float = 0.25
    rtol: float = 2e-4
    smooth: bool = False
    fixed: tuple[str, ...] = ()  # inputs whose shape is never symbolic
    body: str = ""  # what it computes, as an ONNX function, where ONNX Runtime's CPU provider has no kernel

    def run(self, symbolic: bool = False) -> None:
        feeds = {name: x for name, x in self.inputs.items() if x is not None and name not in self.constants}
        shapes = {
            name: np.shape(x) if name in self.fixed else [f"{name}{i}" for i in range(np.ndim(x))]
            for name, x in feeds.items()
        }
        model = self.model(shapes if symbolic else None)
        gradient = runnable(vjp(model, None, self.wanted(feeds)), self.body)
        model = runnable(model, self.body)
        rng = np.random.default_rng(0)
        forward = Session(load(model), provider="cpu").run
        ys = {name: y for name, y in forward(feeds).items() if y.dtype == np.float32}
        us = {name: rng.standard_normal(y.shape).astype(np.float32) for name, y in ys.items()}
        gradients = run(gradient, {**feeds, **{f"{name}.cotangent": u for name, u in us.items()}})
        for name in self.wanted(feeds):
            x, actual = feeds[name], gradients[f"{name}.gradient"]
            assert actual.shape == x.shape
            v = rng.uniform(-1, 1, x.shape).astype(np.float32)

            def along(step: float, name: str = name, x: np.ndarray = x, v: np.ndarray = v) -> float:
                moved = forward({**feeds, name: np.asarray(x + np.float32(step) * v)})
                return sum(float(np.vdot(u.astype(np.float64), moved[y])) for y, u in us.items())

            h = self.step
            expected = (along(h) - along(-h)) / (2 * h)
            if self.smooth:
                expected = (4 * expected - (along(2 * h) - along(-2 * h)) / (4 * h)) / 3
            scale = max(float(np.linalg.norm(actual)), abs(expected), 1e-3)
            error = abs(float(np.vdot(actual.astype(np.float64), v)) - expected) / scale
            assert error <= self.rtol, f"the gradient of {name!r} is off by {error:.2e}"

    def wanted(self, feeds: Mapping[str, np.ndarray]) -> list[str]:
        return [name for name, x in feeds.items() if x.dtype == np.float32 and name not in ("scales", "roi")]


def runnable(model: onnx.ModelProto, body: str) -> onnx.ModelProto:
    """Return *model* with the first node of a domain of its own as a call of the function *body*."""
    if not body:
        return model
    imports = ", ".join(f'"{each.domain}": {each.version}' for each in model.opset_import)
    function = onnx.parser.parse_function(f'<opset_import: [{imports}], domain: "twin"> {body}')
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    node = next(node for node in twin.graph.node if node.domain)
    node.domain = "twin"
    del node.attribute[:]
    twin.functions.append(function)
    twin.opset_import.add(domain="twin", version=1)
    return twin


def on_runtime(
    op: str, name: str, inputs: Mapping[str, Any], constants: tuple[str, ...] = (), step: float = 0.25, **options: Any
) -> RuntimeCase:
    given = tuple(name for name in constants if inputs.get(name) is not None)
    made = case(op, name, inputs, given, **options)
    return RuntimeCase(**{**vars(made), "step": step})


def microsoft(
    op: str,
    name: str,
    inputs: Mapping[str, Any],
    *,
    constants: tuple[str, ...] = (),
    fixed: tuple[str, ...] = (),
    body: str = "",
    step: float = 4e-3,
    rtol: float = 2e-3,
    **options: Any,
) -> RuntimeCase:
    """Return the case of an operator of ONNX Runtime's own domain."""
    made = on_runtime(op, name, inputs, constants, step, **options)
    return replace(made, domain=MICROSOFT, rtol=rtol, smooth=True, fixed=fixed, body=body)
