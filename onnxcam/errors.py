"""What can go wrong, as one tree.

::

    OnnxcamError
    ├── ModelError             the file is no model that ONNX Runtime could run
    │   └── MissingRuleError   an operator on the path has no gradient rule
    ├── GradientError          nothing connects the target with the wanted tensor
    ├── LayerError             no such layer, or none with spatial extent
    ├── TargetError            no such class, label or output
    ├── MethodError            the method is unknown or does not apply to this network
    ├── PreprocessError        a preprocessing that does not parse, or does not fit the model's input
    ├── ImageError             a picture that cannot be read
    ├── ProviderError          an execution provider that is not there
    ├── EngineError            ONNX Runtime refused the model or failed while it ran
    ├── MetricError            the metric is unknown or cannot be measured
    ├── TruthError             where the objects are is not there, cannot be read or does not fit the pictures
    ├── RecordingError         a recording that is not whole, was changed, or does not fit the other one
    ├── ConversionError        a model of another framework that cannot be converted, or whose copy is not equal
    ├── RuntimeFilesError      what a page or a device needs to run models cannot be had
    └── OutputError            results that cannot be written

Every message is one line that says what is wrong, where, and what to do. The command line prints it after
``error:`` and exits with code 2. Errors of onnx, onnx_ir, onnxruntime and OpenCV are translated where these
libraries are called; none of them reaches the user.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OnnxcamError(Exception):
    """Base of every error that onnxcam raises on purpose."""


class ModelError(OnnxcamError):
    """The file is no valid ONNX model, or lacks a part of itself."""


class MissingRuleError(ModelError):
    """An operator between the target and the wanted tensor has no gradient rule."""


class GradientError(OnnxcamError):
    """The gradient is zero because nothing connects, or because a dtype swallowed it."""


class LayerError(OnnxcamError):
    """No such layer, or no layer with spatial extent."""


class TargetError(OnnxcamError):
    """No such class, label or output."""


class MethodError(OnnxcamError):
    """The method is unknown or does not apply to this network."""


class PreprocessError(OnnxcamError):
    """The preprocessing does not parse, or does not fit the model's input."""


class ImageError(OnnxcamError):
    """A picture that cannot be read."""


class ProviderError(OnnxcamError):
    """An execution provider that this installation of ONNX Runtime lacks."""


class EngineError(OnnxcamError):
    """ONNX Runtime refused the model or failed while it ran."""


class MetricError(OnnxcamError):
    """The metric is unknown or cannot be measured."""


class TruthError(OnnxcamError):
    """Where the objects are is not there, cannot be read or does not fit the pictures."""


class RecordingError(OnnxcamError):
    """A recording that is not whole, was changed, or does not fit the other one."""


class ConversionError(OnnxcamError):
    """A model of another framework cannot be converted, or what came out is not equal to it."""


class RuntimeFilesError(OnnxcamError):
    """What a page or a device needs to run models cannot be had."""


class OutputError(OnnxcamError):
    """Results that cannot be written."""


def nearest(word: str, known: Iterable[str], count: int = 3) -> str:
    """Return `` Did you mean 'a' or 'b'?`` for the known names closest to *word*, or an empty string."""
    names = list(dict.fromkeys(known))
    lowered = {name.lower(): name for name in reversed(names)}
    close = difflib.get_close_matches(word.lower(), lowered, n=count, cutoff=0.5)
    close += [name for name in lowered if word.lower() in name and name not in close][: count - len(close)]
    if not close:
        return ""
    return " Did you mean " + " or ".join(repr(lowered[name]) for name in close) + "?"
