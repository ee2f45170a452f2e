"""Measure the quality of explanations (docs/evaluate.md).

One file per group of metrics: `localisation`, `faithfulness`, `road`, `robustness`, `complexity`, `sanity`. A metric is
a registered function over arrays; `evaluate` applies the metrics to methods and images.
"""

from onnxcam.metrics import complexity, faithfulness, localisation, road, robustness
from onnxcam.metrics.base import METRICS, Curve, Metric
from onnxcam.metrics.evaluation import evaluate
from onnxcam.metrics.results import Evaluation, Summary
from onnxcam.metrics.sanity import CHECKS, Check, CheckResult
from onnxcam.metrics.truth import Annotation, Object, Region, Truth

__all__ = [
    "CHECKS",
    "METRICS",
    "Annotation",
    "Check",
    "CheckResult",
    "Curve",
    "Evaluation",
    "Metric",
    "Object",
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
