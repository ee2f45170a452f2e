"""What a model's file, and the files beside it, say of the signals that it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.graph.quantisation import units
from onnxcam.metadata import sidecar
from onnxcam.metadata.labels import ClassNames
from onnxcam.metadata.reading import Part
from onnxcam.model.signal_modality import SCALINGS, SignalModality
from onnxcam.model.signals import SignalChoice, SignalInput
from onnxcam.structure.layout import GridLayout

__all__ = ["signal_modality"]

_RATES = ("sample_rate", "sampling_rate", "samplerate", "sampling_frequency", "rate")
"""Keys under which tools keep the rate of a model."""
_SIDECARS = ("preprocessor_config.json", "config.json")


def signal_modality(
    image: ir.Value,
    layout: GridLayout,
    names: ClassNames,
    choice: SignalChoice,
    spec: object,
    warn: Callable[[str], None],
) -> SignalModality:
    """Return how signals become the input *image*: by the user, the card, or files beside the model."""
    dtype = image.dtype.numpy() if image.dtype is not None else np.dtype(np.float32)
    known = units(image) if dtype.kind in "iu" else None
    taken = SignalInput(layout, list(image.shape or ()), choice, _rate(names, choice))
    spec, source = _scaling(names, spec)
    return SignalModality(taken, dtype, None if known is None else known.known, spec, warn, source)


def _scaling(names: ClassNames, spec: object) -> tuple[object, str]:
    """Return how numbers are scaled, and how that is known."""
    if spec:
        return spec, "user"
    if names.card.preprocess in SCALINGS:  # else it is that of images
        return names.card.preprocess, "card"
    beside = sidecar.beside(names.path, _SIDECARS[0])
    if str(beside.get("feature_extractor_type", "")).startswith("Wav2Vec2") and "do_normalize" in beside:
        return "zscore" if beside["do_normalize"] else "raw", "file"
    return None, "guess"


def _rate(names: ClassNames, choice: SignalChoice) -> Part | None:
    """Return the model's rate, and how it is known; None where nothing says it."""
    if choice.rate is not None:
        return _part(choice.rate, "user")
    if names.card.rate:
        return _part(names.card.rate, "card")
    for source, known in [
        ("metadata", names.metadata),
        *(("file", sidecar.beside(names.path, name)) for name in _SIDECARS),
    ]:
        found = _stated(known)
        if found is not None:
            return _part(found, source)
    return None


def _stated(known: Mapping[str, Any]) -> float | None:
    for key, value in known.items():
        if key.lower() in _RATES:
            try:
                rate = float(value)
            except (TypeError, ValueError):
                continue
            if 0 < rate < 1e9:
                return rate
    return None


def _part(rate: float, source: str) -> Part:
    return Part("rate", f"{rate:g} Hz", source)
