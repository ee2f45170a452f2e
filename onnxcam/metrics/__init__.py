"""Is the map right: does it lie on the object, does the network use what it shows, does it depend on the network?

One charter a file: `localisation`, `faithfulness`, `road`, `robustness`, `complexity`, `sanity`. Each metric is a
function over arrays, entered into a registry; `evaluate` measures methods on pictures with them. See docs/evaluate.md.
"""

from onnxcam.metrics import complexity, faithfulness, localisation, road, robustness
from onnxcam.metrics.base import METRICS, Curve, Metric
from onnxcam.metrics.evaluation import evaluate
from onnxcam.metrics.report import Evaluation, Summary
from onnxcam.metrics.sanity import CHECKS, Check, Outcome
from onnxcam.metrics.truth import Region, Truth

__all__ = [
    "CHECKS",
    "METRICS",
    "Check",
    "Curve",
    "Evaluation",
    "Metric",
    "Outcome",
    "Region",
    "Summary",
    "Truth",
    "complexity",
    "evaluate",
    "faithfulness",
    "localisation",
    "road",
    "robustness",
]
