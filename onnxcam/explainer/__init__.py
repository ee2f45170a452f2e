"""Model, layer, target, explanation graph, picture, map: the pipeline from end to end."""

from onnxcam.explainer.explainer import Explainer, explain
from onnxcam.explainer.explanation import Explanation

__all__ = ["Explainer", "Explanation", "explain"]
