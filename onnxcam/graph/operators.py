"""Traits of ONNX operators: which ones only move data, pool, gate, activate …

A set of operators elsewhere is a union of traits; where it differs from them, it adds or removes names and says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Flag, auto
from functools import cache
from types import MappingProxyType

__all__ = [
    "TRAITS",
    "Trait",
    "operators",
]


class Trait(Flag):
    """A property of an operator; ``|`` joins several."""

    MOVES = auto()  # moves, copies or repeats elements and changes none
    COPIES = auto()  # every element at its place, perhaps in another dtype
    RESHAPES = auto()  # every element in its order
    CUTS = auto()  # a part of the tensor
    REPEATS = auto()
    INTERLEAVES = auto()  # exchanges channels and space
    REORDERS = auto()  # to or from the blocked layout of ONNX Runtime
    RESIZES = auto()
    QUANTISES = auto()  # real numbers to integers, or back
    KEEPS_UNITS = auto()  # treats integers as the real numbers that they represent; reads its first input only
    POOLS = auto()  # over windows or all of space; channels at axis 1
    AVERAGES = auto()  # sums or means over windows or axes
    SELECTS = auto()  # the largest or smallest element of a window or an axis
    ARITHMETIC = auto()  # + − × ÷
    COMPARES = auto()  # numbers to truth values
    LOGIC = auto()  # truth values to truth values
    MEASURES = auto()  # reads the shape alone
    MULTIPLIES = auto()  # a product with weights: convolution, matrix product
    ACTIVATES = auto()  # a function of each element by itself
    RECTIFIES = auto()  # an activation of the ReLU family
    GATES = auto()  # squashes into an interval, for something to be multiplied with
    NONNEGATIVE = auto()  # the output is at least 0 for every input


def _table() -> dict[str, Trait]:
    T = Trait
    squashes = T.ACTIVATES | T.GATES
    return {
        # movement
        "Identity": T.MOVES | T.COPIES | T.KEEPS_UNITS,
        "Cast": T.MOVES | T.COPIES,
        **dict.fromkeys(("CastLike", "Dropout", "Concat", "Pad", "Where", "Trilu", "ReverseSequence"), T.MOVES),
        **dict.fromkeys(("GatherElements", "GatherND", "Compress"), T.MOVES | T.KEEPS_UNITS),
        **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), T.MOVES | T.RESHAPES | T.KEEPS_UNITS),
        "Transpose": T.MOVES | T.KEEPS_UNITS,
        **dict.fromkeys(("Slice", "Gather"), T.MOVES | T.CUTS | T.KEEPS_UNITS),
        "Split": T.MOVES | T.CUTS,
        **dict.fromkeys(("Expand", "Tile"), T.MOVES | T.REPEATS),
        **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), T.MOVES | T.INTERLEAVES),
        **dict.fromkeys(("ReorderInput", "ReorderOutput"), T.REORDERS),
        **dict.fromkeys(("Resize", "Upsample"), T.RESIZES),
        **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), T.QUANTISES),
        **dict.fromkeys(("Shape", "Size"), T.MEASURES),
        # pooling and reduction
        "MaxPool": T.POOLS | T.SELECTS | T.KEEPS_UNITS,
        "GlobalMaxPool": T.POOLS | T.SELECTS,
        **dict.fromkeys(("ReduceMax", "ReduceMin"), T.SELECTS),
        **dict.fromkeys(("AveragePool", "GlobalAveragePool"), T.POOLS | T.AVERAGES),
        **dict.fromkeys(("ReduceSum", "ReduceMean"), T.AVERAGES),
        **dict.fromkeys(("LpPool", "GlobalLpPool", "QLinearAveragePool", "QLinearGlobalAveragePool"), T.POOLS),
        # arithmetic
        **dict.fromkeys(("Add", "Sub", "Mul", "Div"), T.ARITHMETIC),
        **dict.fromkeys(("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"), T.COMPARES),
        **dict.fromkeys(("Not", "And", "Or", "Xor"), T.LOGIC),
        **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "MatMul"), T.MULTIPLIES),
        # activation
        "Relu": T.ACTIVATES | T.RECTIFIES | T.NONNEGATIVE,
        **dict.fromkeys(("LeakyRelu", "PRelu", "ThresholdedRelu", "Clip"), T.ACTIVATES | T.RECTIFIES),
        **dict.fromkeys(("Shrink", "Elu", "Selu", "Celu", "HardSwish", "Swish"), T.ACTIVATES),
        **dict.fromkeys(("Softsign", "Softplus", "Mish", "Gelu"), T.ACTIVATES),
        **dict.fromkeys(("Sigmoid", "HardSigmoid"), squashes | T.NONNEGATIVE),
        **dict.fromkeys(("Tanh", "Erf"), squashes),
        "Softmax": T.GATES | T.NONNEGATIVE,
    }


TRAITS: Mapping[str, Trait] = MappingProxyType(_table())
"""The traits of each operator, by its name in any domain."""


@cache
def operators(traits: Trait) -> frozenset[str]:
    """Return the operators that have at least one of *traits*.

    Example:
        >>> sorted(operators(Trait.COPIES | Trait.QUANTISES))
        ['Cast', 'DequantizeLinear', 'Identity', 'QuantizeLinear']
    """
    return frozenset(name for name, own in TRAITS.items() if own & traits)
