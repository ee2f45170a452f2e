"""Reverse-mode differentiation of ONNX graphs, into plain ONNX operators.

`vjp` gives a model its gradient; `register` teaches it an operator. `core` is the driver, `rules` is the table.
"""

from onnxcam.autodiff.differentiate import vjp
from onnxcam.autodiff.extend import register
from onnxcam.autodiff.rules import STANDARD
from onnxcam.autodiff.rulesets import DECONVNET, GUIDED, ruleset
from onnxcam.autodiff.table import Rule, RuleSet

__all__ = ["DECONVNET", "GUIDED", "STANDARD", "Rule", "RuleSet", "register", "ruleset", "vjp"]
