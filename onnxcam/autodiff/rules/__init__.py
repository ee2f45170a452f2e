"""The gradient rules: one operator family a file, one row an operator.

A rule is ``rule(op, node, dy, *inputs)``: ``op`` emits (`onnxcam.graph.emitter.Emitter`), ``node`` is the forward
node, ``dy`` the cotangent of its output, then the node's inputs, None where an optional one is left out. It returns
one gradient for each input: a value of the input's shape, None where there is none, or a function without
arguments where spelling the gradient is dear (it is called only if the gradient is wanted). Rules are written for
opset 18 and newer; older models are raised before.

`STANDARD` is the table of true derivatives. `GUIDED` and `DECONVNET` are the same table with other rows for the
rectifiers: springenberg2014 (1412.6806) and zeiler2013 (1311.2901).
"""

from __future__ import annotations

import importlib
from typing import Any

from onnxcam import _moved
from onnxcam.autodiff import table
from onnxcam.autodiff.table import ROWS, RuleSet

FAMILIES = (
    "activation",
    "arithmetic",
    "attention",
    "blocked",
    "control",
    "convolution",
    "fused",
    "indexing",
    "linear",
    "movement",
    "normalization",
    "pooling",
    "quantized",
    "quantized_ops",
    "recurrent",
    "reduction",
    "regions",
    "resize",
    "runtime",
    "sampling",
    "sequences",
    "spectral",
    "bodies",  # last: they are for operators without a row
)
"""The files of this folder, in which every rule of the standard table stands."""

NO_GRADIENT = (
    "And ArgMax ArgMin Bernoulli BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BlackmanWindow Ceil Constant "
    "ConstantOfShape Equal EyeLike Floor Greater GreaterOrEqual HammingWindow HannWindow Hardmax IsInf IsNaN Less "
    "LessOrEqual Multinomial NonMaxSuppression NonZero Not OneHot OptionalHasElement Or Range RandomNormal "
    "RandomNormalLike RandomUniform RandomUniformLike Round SequenceEmpty SequenceLength Shape Sign Size Unique Xor"
).split()
"""Operators whose outputs are counts, indices, flags, random, or constant piece by piece."""

ROWS.update(dict.fromkeys((("", operator) for operator in NO_GRADIENT), None))
for _family in FAMILIES:
    importlib.import_module(f"{__name__}.{_family}")

STANDARD = RuleSet("standard", ROWS)


def __getattr__(name: str) -> Any:
    """Find what ``onnxcam.autodiff.rules`` held in 0.1 where it is now."""
    if name.startswith("_") or not hasattr(table, name):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _moved.warn(f"{__name__}.{name}", f"onnxcam.autodiff.table.{name}")
    return getattr(table, name)
