"""What a converter has to say of a model of its framework; the rest (`pipeline`, `verify`) asks no more of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

Arrays: TypeAlias = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Exported:
    """What an exporter wrote."""

    exporter: str  # by whom, such as "torch.onnx.export (dynamo)"
    layers: Mapping[str, str] = field(default_factory=dict)  # tensor of the .onnx file: the framework's layer
    warnings: Sequence[str] = ()  # each a line for the user
    precision: str = "float32"  # "int8" where the model itself computes in integers


class Source(Protocol):
    """A model in its framework: it exports itself, and tells what it computes there.

    Tensors are called as in the exported file: inputs and outputs by their names there. Layers are called as the
    framework calls them. Arrays have the layout that they have in the file (NCHW or NHWC, as it comes).
    """

    framework: str  # the framework and its version, such as "torch 2.13.0": it goes onto the card

    def export(self, path: Path) -> Exported:
        """Write the model to *path*, an .onnx file that is not there yet. ConversionError where it cannot be."""

    def example(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return one random feed for the exported file, by input."""

    def run(self, feeds: Arrays, layers: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the outputs by name, and the activations of *layers* by layer, as the framework computes them."""

    def gradients(self, feeds: Arrays, cotangents: Arrays, layers: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the gradients of Σ ⟨cotangent, output⟩, by floating input and by layer.

        Of what the framework cannot differentiate (an integer model, a frozen graph) nothing is returned.
        """
