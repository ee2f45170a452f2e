"""Cases for onnxcam.autodiff.rules.recurrent.

The reference evaluator knows only the plainest of these operators. ONNX Runtime computes them in float32: what the
rule spells out is held against that. In float64 it is the spelling that is differentiated, and checked by differences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import onnx

from onnxcam import testing
from onnxcam.autodiff import vjp
from onnxcam.autodiff.rules.recurrent import GATES, as_scans
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import load, to_proto
from onnxcam.passes.shapes import infer_shapes
from onnxcam.testing import check_grads, run
from tests.autodiff.cases import Case, case, normal

T, N, I, H = 3, 2, 2, 2


def spelt(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return *model*, of one node, with the node replaced by what the rule takes it for."""
    twin = load(model)
    infer_shapes(twin)
    (node,) = twin.graph
    op = Emitter(twin.graph)
    for y, new in zip(node.outputs, as_scans(op, node, *node.inputs), strict=False):
        shape, kind, name = y.shape, y.type, y.name
        y.name = None
        y.replace_all_uses_with(new, replace_graph_outputs=True)
        new.name, new.type, new.shape = name, kind, shape
    op.place(twin.graph.outputs)
    twin.graph.remove(node)
    return to_proto(twin)


@dataclass(frozen=True)
class Recurrent(Case):
    """One node: ONNX Runtime's forward pass, and the gradient of what is spelt out."""

    native: bool = True  # whether ONNX Runtime computes it

    def run(self, symbolic: bool = False) -> None:
        feeds = {name: x for name, x in self.inputs.items() if x is not None and name not in self.constants}
        shapes = {"x": ["t", "n", I], "lengths": ["n"], "h": ["d", "n", H], "c": ["d", "n", H]} if symbolic else {}
        model = self.model({name: shape for name, shape in shapes.items() if name in feeds} if symbolic else None)
        twin = spelt(model)
        with mock.patch("onnxcam.testing._evaluator", testing._runner):
            check_grads(twin, feeds, order=1 if symbolic else self.order, rtol=1e-5)
        if not self.native:
            return
        expected, actual = run(twin, feeds), run(model, feeds)
        for name, y in expected.items():
            np.testing.assert_allclose(y, actual[name], rtol=1e-5, atol=1e-6)
        feeds |= {f"{name}.cotangent": normal(*y.shape, seed=3) for name, y in expected.items()}
        expected, actual = run(vjp(twin), feeds), run(vjp(model), feeds)
        for name, y in expected.items():
            np.testing.assert_allclose(actual[name], y, rtol=1e-4, atol=1e-5)


def recurrent(
    op: str, name: str, *options: str, native: bool = True, order: int = 1, symbolic: bool = False, **attributes: Any
) -> Recurrent:
    """Return a case; *options* name the optional inputs that are given."""
    d, g = 2 if attributes.get("direction") == "bidirectional" else 1, GATES[op]
    batched = attributes.get("layout", 0)
    x, state = normal(*((N, T, I) if batched else (T, N, I))), ((N, d, H) if batched else (d, N, H))
    inputs: Mapping[str, Any] = {
        "x": x,
        "w": normal(d, g * H, I, seed=1),
        "r": normal(d, g * H, H, seed=2),
        "b": normal(d, 2 * g * H, seed=3) if "b" in options else None,
        "lengths": np.asarray([2, 3], np.int32) if "lengths" in options else None,
        "h": normal(*state, seed=4) if "h" in options else None,
        **({"c": normal(*state, seed=5) if "c" in options else None} if op == "LSTM" else {}),
        **({"p": normal(d, 3 * H, seed=6) if "p" in options else None} if op == "LSTM" else {}),
    }
    settings = {"outputs": 3 if op == "LSTM" else 2, "order": order, "symbolic": symbolic, "hidden_size": H}
    made = case(op, name, inputs, **settings, **attributes)
    return Recurrent(**{**vars(made), "native": native})


CASES = [
    *(
        recurrent(
            op, f"{way}{' and lengths' if lengths else ''}", "b", "h", *lengths, symbolic=bool(lengths), direction=way
        )
        for op in GATES
        for way in ("forward", "reverse", "bidirectional")
        for lengths in ((), ("lengths",))
    ),
    *(recurrent(op, "plain") for op in GATES),
    *(recurrent(op, "clip", "b", clip=0.4) for op in GATES),
    *(recurrent(op, "batch first", "b", "h", layout=1, native=False, order=2) for op in GATES),
    recurrent("RNN", "activation", "b", activations=["Affine"], activation_alpha=[0.8], activation_beta=[0.1]),
    recurrent("RNN", "softsign", "b", activations=["Softsign"]),
    recurrent("RNN", "softplus", "b", activations=["Softplus"]),
    recurrent(
        "RNN",
        "two activations",
        "b",
        direction="bidirectional",
        activations=["Elu", "LeakyRelu"],
        activation_alpha=[0.7, 0.2],
    ),
    recurrent("GRU", "linear before reset", "b", "h", linear_before_reset=1),
    recurrent("GRU", "linear before reset, no bias", "h", linear_before_reset=1, direction="bidirectional"),
    recurrent(
        "GRU",
        "activations",
        "b",
        activations=["HardSigmoid", "ScaledTanh"],
        activation_alpha=[0.3, 1.2],
        activation_beta=[0.4, 0.7],
    ),
    recurrent("LSTM", "peepholes", "b", "h", "c", "p", order=2),
    recurrent("LSTM", "peepholes both ways", "b", "h", "c", "p", "lengths", direction="bidirectional"),
    recurrent("LSTM", "coupled", "b", "h", "c", "p", input_forget=1),
    recurrent("LSTM", "activations", "b", activations=["HardSigmoid", "Softsign", "Relu"]),
]
