"""Reverse-mode differentiation of ONNX graphs, into plain ONNX operators.

`vjp` gives a model its gradient; `register` teaches it an operator. `core` is the driver,
`rules` is the table. Names are loaded when they are used, so that the passes, which come before, can use the parts.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxcam.autodiff.differentiate import vjp
    from onnxcam.autodiff.extend import register
    from onnxcam.autodiff.rules import STANDARD, Rule, RuleSet
    from onnxcam.autodiff.rulesets import DECONVNET, GUIDED, ruleset

__all__ = ["DECONVNET", "GUIDED", "STANDARD", "Rule", "RuleSet", "register", "ruleset", "vjp"]

_HOMES = {
    "extend": ("register",),
    "differentiate": ("vjp",),
    "rules": ("STANDARD", "Rule", "RuleSet"),
    "rulesets": ("DECONVNET", "GUIDED", "ruleset"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
