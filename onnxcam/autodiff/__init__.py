"""Reverse-mode differentiation of ONNX graphs, into plain ONNX operators.

`vjp` adds the gradient to a model; `register` adds a rule for an operator. `core` is the driver; `rules` hold the
operators.
"""

from onnxcam.autodiff.differentiate import vjp
from onnxcam.autodiff.extend import register
from onnxcam.autodiff.rules import STANDARD
from onnxcam.autodiff.rulesets import DECONVNET, GUIDED, ruleset
from onnxcam.autodiff.table import Rule, RuleSet

__all__ = ["DECONVNET", "GUIDED", "STANDARD", "Rule", "RuleSet", "register", "ruleset", "vjp"]
