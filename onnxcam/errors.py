"""The exceptions of onnxcam.

    OnnxcamError
    ├── ModelError             the model is not valid, or a part of it is missing
    │   └── MissingRuleError   an operator has no gradient rule
    ├── GradientError          the gradient is zero, or not defined
    ├── LayerError             the layer does not exist, or has no spatial axes
    ├── TargetError            the target does not exist in the model or the image
    │   └── LabelError         no class of the model has the name
    ├── MethodError            the method or a setting is unknown, or does not apply to the model
    ├── PreprocessError        the preprocessing is not valid, or does not fit the model's input
    ├── ImageError             an image or a volume cannot be read
    ├── ProviderError          the execution provider is not available
    ├── EngineError            ONNX Runtime refused the model, or failed while running it
    ├── IncompleteError        a run ended before all of its rows were there
    ├── MetricError            the metric is unknown or cannot be measured
    ├── DiagnosisError         two models cannot be paired, or a repair cannot be found
    ├── TruthError             the ground truth is missing, cannot be read, or does not fit the images
    ├── RecordingError         the recording is incomplete, was changed, or does not fit the other one
    ├── ConversionError        a model of another framework cannot be converted, or the conversion is not equal
    ├── RuntimeFilesError      the runtime files of a page or a device are not available
    └── OutputError            results cannot be written

`GuessWarning` is a warning: a part of the model's reading is a guess.

Every message is one line that says what is wrong, where, and what to do. The command line prints it after ``error:``
and exits with code 2, or 1 for an IncompleteError, which no input is to blame for. Exceptions of onnx, onnx_ir,
onnxruntime and OpenCV are translated where these libraries are called; the user sees none of them.
"""

from __future__ import annotations

import difflib
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any

__all__ = [
    "ConversionError",
    "DiagnosisError",
    "EngineError",
    "GradientError",
    "GuessWarning",
    "ImageError",
    "IncompleteError",
    "LabelError",
    "LayerError",
    "MethodError",
    "MetricError",
    "MissingRuleError",
    "ModelError",
    "OnnxcamError",
    "OutputError",
    "PreprocessError",
    "ProviderError",
    "RecordingError",
    "RuntimeFilesError",
    "TargetError",
    "TruthError",
    "call_registered",
    "nearest",
    "warn_caller",
]


class OnnxcamError(Exception):
    """The base class of onnxcam's exceptions."""


class GuessWarning(UserWarning):
    """The preprocessing is a guess; state it to be sure of the map."""


class ModelError(OnnxcamError):
    """The model is not valid ONNX, or a part of it is missing."""


class MissingRuleError(ModelError):
    """An operator between the target and the differentiated tensor has no gradient rule."""


class GradientError(OnnxcamError):
    """The gradient is zero: no path connects the tensors, or the dtype rounds it to zero."""


class LayerError(OnnxcamError):
    """The layer does not exist, or has no spatial axes."""


class TargetError(OnnxcamError):
    """The target (a class, label, tensor, box, …) does not exist in the model or the image."""


class LabelError(TargetError):
    """No class of the model has the name."""


class MethodError(OnnxcamError):
    """The method or a setting is unknown, or does not apply to the model."""


class PreprocessError(OnnxcamError):
    """The preprocessing is not valid, or does not fit the model's input."""


class ImageError(OnnxcamError):
    """An image or a volume cannot be read."""


class ProviderError(OnnxcamError):
    """The execution provider is not available in the installed ONNX Runtime."""


class EngineError(OnnxcamError):
    """ONNX Runtime refused the model, or failed while running it."""


class IncompleteError(OnnxcamError):
    """A run ended before all of its rows were there; the same command makes those that are missing."""


class MetricError(OnnxcamError):
    """The metric is unknown or cannot be measured."""


class DiagnosisError(OnnxcamError):
    """Two models are not the same network in float and quantised form, or no repair meets the requirements."""


class TruthError(OnnxcamError):
    """The ground truth is missing, cannot be read, or does not fit the images."""


class RecordingError(OnnxcamError):
    """The recording is incomplete, was changed, or does not fit the other one."""


class ConversionError(OnnxcamError):
    """A model of another framework cannot be converted, or the conversion is not equal to it."""


class RuntimeFilesError(OnnxcamError):
    """The runtime files of a page or a device are not available."""


class OutputError(OnnxcamError):
    """Results cannot be written."""


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn at the line outside onnxcam that led here."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_between(frame.f_code.co_filename):
        frame = frame.f_back
    scope = frame.f_globals
    warnings.warn_explicit(
        message,
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=scope.get("__name__", "__main__"),
        registry=scope.setdefault("__warningregistry__", {}),
    )


def _is_between(file: str) -> bool:
    """Whether *file* is onnxcam's own or the import system's."""
    return "importlib" in file or os.path.dirname(__file__) in file


def nearest(word: str, known: Iterable[str], count: int = 3, cutoff: float = 0.5) -> str:
    """Return `` Did you mean 'a' or 'b'?`` for the *known* names closest to *word*; an empty string for none.

    *cutoff* is the least similarity, from 0 to 1.
    """
    names = list(dict.fromkeys(known)) if word else []
    lowered = {name.lower(): name for name in reversed(names)}
    close = difflib.get_close_matches(word.lower(), lowered, n=count, cutoff=cutoff)
    close += [name for name in lowered if word.lower() in name and name not in close][: count - len(close)]
    if not close:
        return ""
    return " Did you mean " + " or ".join(repr(lowered[name]) for name in close) + "?"


def call_registered(owner: str, function: Callable[..., Any], /, *arguments: Any, **settings: Any) -> Any:
    """Return what *function*, registered as *owner*, returns; OnnxcamError if it does not take these arguments."""
    try:
        return function(*arguments, **settings)
    except TypeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is None:  # raised by the call, not inside
            raise OnnxcamError(f"{owner} does not take its arguments: {error}") from error
        raise
