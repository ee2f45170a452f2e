"""onnxcam explains any ONNX vision model, anywhere ONNX Runtime runs.

::

    explainer = onnxcam.Explainer("model.onnx")          # any classifier
    explanation = explainer("img.jpg", target="tabby")   # which pixels spoke for it
    explanation.save("out")

`onnxcam.autodiff.vjp` gives any model its gradient, as one more ONNX model;
`onnxcam.converters` makes ONNX of other frameworks' models. Names are loaded when they are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from onnxcam import _lazy_sympy, _moved  # noqa: F401  # both change what is imported after them

if TYPE_CHECKING:
    from onnxcam import autodiff, converters, errors, testing
    from onnxcam.auditing.audit import audit
    from onnxcam.batching.batch import batch
    from onnxcam.diagnosis.diagnose import diagnose
    from onnxcam.diagnosis.repair import repair
    from onnxcam.explainer.explainer import Explainer, explain
    from onnxcam.explainer.explanation import Explanation
    from onnxcam.explainer.sheet import sheet

__version__ = "0.2.0"
__all__ = [
    "Explainer",
    "Explanation",
    "audit",
    "autodiff",
    "batch",
    "converters",
    "diagnose",
    "errors",
    "explain",
    "repair",
    "sheet",
    "testing",
]

_HOMES = {
    "Explainer": "onnxcam.explainer",
    "explain": "onnxcam.explainer",
    "Explanation": "onnxcam.explainer",
    "audit": "onnxcam.auditing.audit",
    "batch": "onnxcam.batching.batch",
    "diagnose": "onnxcam.diagnosis.diagnose",
    "repair": "onnxcam.diagnosis.repair",
    "sheet": "onnxcam.explainer.sheet",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in __all__ or name in _moved.MODULES or name in _moved.PACKAGES:
        return importlib.import_module(f"onnxcam.{name}")
    raise AttributeError(f"module 'onnxcam' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
