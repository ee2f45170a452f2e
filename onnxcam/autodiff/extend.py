"""Registration of rules for further operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onnxcam.autodiff.rules import STANDARD
from onnxcam.autodiff.table import Rule

__all__ = ["register"]


def register(operator: str, function: Callable[..., Any], *, domain: str = "", **traits: Any) -> None:
    """Make *function* the gradient rule of *operator*, in the standard table and all that derive from it.

    *function* is ``rule(op, node, dy, *inputs)`` (see `onnxcam.autodiff.rules`); *traits* are the fields of `Rule`.
    The registration applies to this process. To change the rules of one explanation only, pass a `RuleSet`
    (``STANDARD.replace(...)``) as ``rules=``.

    Example:
        >>> register("Scale", lambda op, node, dy, x: (op.Mul(dy, node.attributes.get_float("by")),), domain="my.ops")
    """
    STANDARD[domain, operator] = Rule(function, **traits)
