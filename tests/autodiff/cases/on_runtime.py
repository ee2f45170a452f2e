"""Cases that the reference evaluator lacks or gets wrong: ONNX Runtime is held against its own differences.

Its float32 is precise enough where the operator is linear, or linear between kinks that a small step does not reach:
there the difference quotient is exact for any step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxcam.autodiff import vjp
from onnxcam.testing import run
from tests.autodiff.cases import Case, case


@dataclass(frozen=True)
class RuntimeCase(Case):
    """One node, and its gradient checked by ONNX Runtime alone."""

    step: float = 0.25
    rtol: float = 2e-4

    def run(self, symbolic: bool = False) -> None:
        feeds = {name: x for name, x in self.inputs.items() if x is not None and name not in self.constants}
        shapes = {name: [f"{name}{i}" for i in range(np.ndim(x))] for name, x in feeds.items()}
        model = self.model(shapes if symbolic else None)
        rng = np.random.default_rng(0)
        u = rng.standard_normal(run(model, feeds)["y"].shape).astype(np.float32)
        wanted = [name for name, x in feeds.items() if x.dtype == np.float32 and name not in ("scales", "roi")]
        gradients = run(vjp(model, ["y"], wanted), {**feeds, "y.cotangent": u})
        for name in wanted:
            x, actual = feeds[name], gradients[f"{name}.gradient"]
            assert actual.shape == x.shape
            v = rng.uniform(-1, 1, x.shape).astype(np.float32)
            ends = [run(model, {**feeds, name: x + sign * np.float32(self.step) * v})["y"] for sign in (1, -1)]
            difference = (ends[0].astype(np.float64) - ends[1]) / (2 * self.step)
            expected, directional = np.vdot(u, difference), np.vdot(actual.astype(np.float64), v)
            scale = max(np.linalg.norm(actual), abs(expected), 1e-3)
            error = abs(directional - expected) / scale
            assert error <= self.rtol, f"the gradient of {name!r} is off by {error:.2e}"


def on_runtime(
    op: str, name: str, inputs: Mapping[str, Any], constants: tuple[str, ...] = (), step: float = 0.25, **options: Any
) -> RuntimeCase:
    given = tuple(name for name in constants if inputs.get(name) is not None)
    made = case(op, name, inputs, given, **options)
    return RuntimeCase(**{**vars(made), "step": step})
