"""`Explainer`: from a model, images and targets to explanations."""

from onnxcam.explainer.explainer import Explainer, explain
from onnxcam.explainer.explanation import Explanation

__all__ = ["Explainer", "Explanation", "explain"]
