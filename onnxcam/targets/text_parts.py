"""The text tower in a graph: the inputs that take token ids, the outputs [N, D] of the text, and what the graph tells
of its tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import onnx_ir as ir

from onnxcam.graph.fold import constant
from onnxcam.graph.operators import Trait, operators
from onnxcam.structure.layer import ancestors
from onnxcam.targets.heads import width
from onnxcam.targets.vectors import words_of

__all__ = ["EndOfText", "TextParts"]

_PASSED = operators(Trait.COPIES | Trait.RESHAPES) | {"Cast"}
_NO_TOKENS = ("mask", "type", "position", "segment")
"""Words in the names of inputs of integers that are no token ids."""
_ORDER = (("embed", "embedding"), ("pooler", "pooled"), ("feature", "feat"))
"""Words in the names of outputs, the likeliest embedding for comparison first."""


@dataclass(frozen=True)
class EndOfText:
    """How the graph finds the token at which it reads the whole text.

    Attributes:
        token: The id of that token; None where it is the largest id of the text.
        node: What finds it, for messages.
    """

    token: int | None
    node: str


@dataclass(frozen=True, eq=False)
class TextParts:
    """The text tower of a graph.

    Attributes:
        tokens: The input of token ids, integers [N, T].
        beside: The other inputs that the tower needs, such as ``attention_mask``.
        outputs: The vectors [N, D] that depend on these inputs alone, the likeliest embedding first.
    """

    tokens: ir.Value
    beside: tuple[ir.Value, ...]
    outputs: tuple[ir.Value, ...]

    @classmethod
    def of(cls, graph: ir.Graph) -> TextParts | None:
        """Return the text tower of *graph*; None where no output [N, D] depends on token ids without an image."""
        integers = {x for x in graph.inputs if x.dtype is not None and x.dtype.is_integer()}
        tokens = next((x for x in graph.inputs if x in integers and _is_tokens(x)), None)
        if tokens is None:
            return None
        inputs, found, beside = set(graph.inputs), list[ir.Value](), set[ir.Value]()
        for y in graph.outputs:
            own = ancestors(y) & inputs
            if tokens in own and not any(_is_image(x) for x in own) and y.shape is not None and len(y.shape) == 2:
                found.append(y)
                beside |= own
        others = tuple(x for x in graph.inputs if x in beside and x is not tokens)
        return cls(tokens, others, tuple(sorted(found, key=_place))) if found else None

    def is_all(self, graph: ir.Graph) -> bool:
        """Whether *graph* takes nothing but the text: it is a text tower alone."""
        return set(graph.inputs) == {self.tokens, *self.beside}

    @property
    def length(self) -> int | None:
        """The number of tokens that the graph fixes; None for any."""
        shape = self.tokens.shape
        last = shape[-1] if shape is not None and len(shape) else None
        return last if isinstance(last, int) else None

    @cached_property
    def vocabulary(self) -> int | None:
        """The number of rows of the table that turns token ids into vectors; None where there is none."""
        for x in _copies(self.tokens):
            for node, position in x.uses():
                if node.op_type == "Gather" and position == 1 and (rows := _rows(node.inputs[0])) is not None:
                    return rows
        return None

    @cached_property
    def end(self) -> EndOfText | None:
        """How the graph finds the end of the text; None where it does not search for a token."""
        for x in _copies(self.tokens):
            for node, _ in x.uses():
                if node.op_type == "ArgMax":
                    return EndOfText(None, _named(node))
                if node.op_type == "Equal" and _is_searched(node.outputs[0]):
                    other = next((one for one in node.inputs if one is not x), None)
                    value = None if other is None else constant(other)
                    if value is not None and value.size == 1:
                        return EndOfText(int(value.item()), _named(node))
        return None

    def output(self, length: int | None) -> ir.Value:
        """Return the output of *length* numbers, by its name, or the likeliest if none has it."""
        return next((y for y in self.outputs if width(y) in (length, None)), self.outputs[0])


def _is_tokens(x: ir.Value) -> bool:
    name = (x.name or "").lower()
    return x.shape is not None and len(x.shape) == 2 and not any(word in name for word in _NO_TOKENS)


def _is_image(x: ir.Value) -> bool:
    return x.shape is None or len(x.shape) > 2


def _place(y: ir.Value) -> int:
    words = words_of(y)
    return next((place for place, names in enumerate(_ORDER) if not words.isdisjoint(names)), len(_ORDER))


def _copies(x: ir.Value) -> Iterator[ir.Value]:
    """Yield *x* and the tensors that hold its values in another shape or type."""
    stack, seen = [x], {x}
    while stack:
        yield (value := stack.pop())
        for node, position in value.uses():
            if node.op_type in _PASSED and position == 0 and node.outputs[0] not in seen:
                seen.add(node.outputs[0])
                stack.append(node.outputs[0])


def _rows(table: ir.Value | None) -> int | None:
    """Return the rows of a constant *table* [V, D], also a quantised one; None where it is no table."""
    while table is not None and (node := table.producer()) is not None and node.op_type in (*_PASSED, _DEQUANTISE):
        table = node.inputs[0]
    shape = None if table is None or table.const_value is None else table.const_value.shape
    return int(shape[0]) if shape is not None and len(shape) == 2 else None  # type: ignore[arg-type]


_DEQUANTISE = "DequantizeLinear"


def _is_searched(found: ir.Value) -> bool:
    return any(node.op_type == "ArgMax" for x in _copies(found) for node, _ in x.uses())


def _named(node: ir.Node) -> str:
    return f"{node.op_type} {node.name!r}" if node.name else node.op_type
