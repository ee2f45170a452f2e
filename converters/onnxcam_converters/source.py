"""Protocol of a model in its framework: all that `pipeline` and `verify` need to know about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

__all__ = ["Arrays", "Exported", "Source"]

Arrays: TypeAlias = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Exported:
    """Result of an export.

    Attributes:
        exporter: Name of the exporter, such as ``"torch.onnx.export (dynamo)"``.
        layers: Layer of the framework for each tensor of the ONNX file.
        warnings: Messages for the user, one line each.
        precision: ``"int8"`` if the source model computes in integers, ``"dynamic range"`` if only its kernels do.
    """

    exporter: str
    layers: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    precision: str = "float32"


class Source(Protocol):
    """A model in its framework: exports itself and computes reference values.

    Inputs and outputs have the names of the exported file; layers have the names of the framework. Arrays have the
    layout of the exported file (NCHW or NHWC).

    Attributes:
        framework: Framework and version, such as ``"torch 2.13.0"``, for the card.
    """

    framework: str

    def export(self, path: Path) -> Exported:
        """Write the model to *path*, a new ``.onnx`` file; raise ConversionError if that fails."""

    def example(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return one random array for each input of the exported file."""

    def run(self, feeds: Arrays, layers: Sequence[str]) -> dict[str, np.ndarray]:
        """Return outputs by name and activations of *layers* by layer, computed by the framework."""

    def gradients(self, feeds: Arrays, cotangents: Arrays, layers: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the gradients of Σ ⟨cotangent, output⟩ by floating-point input and by layer.

        The result is empty if the framework cannot differentiate the model (integers, a frozen graph).
        """
