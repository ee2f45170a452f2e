"""Tables of gradient rules by operator, and the decorator that adds rules to the standard table."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import onnx_ir as ir

from onnxcam.errors import MissingRuleError
from onnxcam.graph.compositions import Compositions, Key

__all__ = ["COMPOSITIONS", "ROWS", "Gradients", "Rule", "RuleSet", "V", "missing_rule", "rule"]

V: TypeAlias = ir.Value
Gradients: TypeAlias = tuple[Any, ...]  # what a rule returns


@dataclass(frozen=True)
class Rule:
    """A gradient rule: the function from the cotangents of an operator's outputs to those of its inputs."""

    function: Callable[..., Any]
    broadcast: bool = False  # inputs broadcast to the output's shape: the driver sums each gradient back
    many: bool = False  # dy is a list, one cotangent or None for each output
    sparse: bool = False  # accepts a `OneHot`; for other rules the driver makes it dense
    inner: bool = False  # also takes ``scope``; returns pairs of an input or captured value and its gradient
    along: Callable[..., Any] | None = None  # (node, axis): the axes of the inputs that belong to an axis of the output
    window: Callable[..., Any] | None = None  # (op, node, dy): a `Window` or None for each input, or None
    selects: Callable[..., Any] | None = None  # (op, node, dy): a `SlicedCotangent` of the first input, or None
    outputs: int | None = None  # only so many outputs, from the first, have a gradient; None: all


class RuleSet(Mapping[Key, Rule | None]):
    """A table of rules by (domain, operator). None marks an operator without gradient."""

    def __init__(self, name: str, *rows: MutableMapping[Key, Rule | None]) -> None:
        self.name = name
        self._rows = ChainMap(*rows)

    def __getitem__(self, key: Key) -> Rule | None:
        return self._rows[key]

    def __setitem__(self, key: Key, row: Rule | None) -> None:
        self._rows[key] = row

    def __iter__(self) -> Iterator[Key]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def compositions(self) -> Compositions:
        """The compositions of operators whose rule is a composition; all tables share them."""
        return COMPOSITIONS

    @property
    def fingerprint(self) -> str | None:
        """What the table holds, where all its rules are onnxcam's own; None where somebody registered another."""
        rows = sorted((key, None if row is None else row.function) for key, row in self.items())
        own = all(function is None or function.__module__.startswith("onnxcam.") for _, function in rows)
        return str([(key, function and function.__qualname__) for key, function in rows]) if own else None

    def replace(self, name: str, rows: Mapping[str | Key, Callable[..., Any] | Rule | None]) -> RuleSet:
        """Return a table called *name* with *rows* added to the rows of this one, or replacing them.

        A key without a domain means the default domain; a function becomes a `Rule` for one output, without broadcast.
        Rows that are added to this table later appear in the new one too.
        """
        new = {
            (key if isinstance(key, tuple) else ("", key)): Rule(row) if callable(row) else row
            for key, row in rows.items()
        }
        return RuleSet(name, new, *self._rows.maps)

    def blocks(self, node: ir.Node) -> bool:
        """Whether *node* is known to have no gradient."""
        return self._rows.get((node.domain, node.op_type), ...) is None

    def differentiable(self, node: ir.Node) -> Sequence[ir.Value]:
        """Return the outputs of *node* that have a gradient; all where there is no rule."""
        row = self._rows.get((node.domain, node.op_type))
        return node.outputs if row is None else node.outputs[: row.outputs]

    def find(self, node: ir.Node) -> Rule:
        """Return the rule for *node*; MissingRuleError where there is none."""
        row = self._rows.get((node.domain, node.op_type))
        if row is None:
            raise MissingRuleError(missing_rule(node))
        return row


def missing_rule(node: ir.Node) -> str:
    """Return the error message for an operator without rule: its node, and how to add a rule."""
    opset = node.version or (node.graph.opset_imports.get(node.domain) if node.graph is not None else None)
    operator = f"{node.domain or 'ai.onnx'}::{node.op_type}"
    into = next((x.name for x in node.inputs if x is not None), "?")
    return (
        f"no gradient rule for operator {operator} (opset {opset}): node {node.name!r}, "
        f"from {into!r} to {node.outputs[0].name!r}, lies between the target and the wanted tensor; "
        f"choose a layer behind it, or add a rule with onnxcam.autodiff.register (docs/add-a-rule.md)"
    )


ROWS: dict[Key, Rule | None] = {}
"""The rows of the standard table."""

COMPOSITIONS = Compositions()
"""The operators whose rule is a composition (`rules.compose`)."""


def rule(*operators: str, domain: str = "", **traits: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make the decorated function the standard rule of *operators*; *traits* are the fields of `Rule`."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        for operator in operators:
            ROWS[domain, operator] = Rule(function, **traits)
        return function

    return enter
