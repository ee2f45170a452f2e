"""Gradient rules: one file for each family of operators, one function for each rule.

A rule is ``rule(op, node, dy, *inputs)``: ``op`` emits (`onnxcam.graph.emitter.Emitter`), ``node`` is the forward
node, ``dy`` the cotangent of its output, then the node's inputs, None for an omitted optional input. It returns one
gradient for each input: a value of the input's shape, None for no gradient, or a function without arguments if the
gradient takes many nodes (it is called only if the gradient is wanted). Rules support opset 18 and newer; older models
are raised before.

`STANDARD` is the table of true derivatives. `rulesets.GUIDED` (Springenberg et al., 1412.6806) and
`rulesets.DECONVNET` (Zeiler & Fergus, 1311.2901) differ in the rules of rectifiers.
"""

from __future__ import annotations

import importlib

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
    "bodies",  # last, as it adds operators without a rule
)
"""The files of this folder; together they hold every rule of the standard table."""

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
