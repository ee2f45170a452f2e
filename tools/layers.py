"""``python tools/layers.py [NAME ...]``: the layer that ``auto`` takes in whole networks, as a table in Markdown.

The networks are those of `tests.architectures` that classify one image, by both exporters, with a fixed and an open
batch. *Order* is tested apart from onnxcam's own probing: a square moves over the image, and the cells that change
most must move with it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

import onnx
import torch
from onnxruntime import InferenceSession

from onnxcam.model.description import ModelDescription
from onnxcam.model.diagnose import choose_layer
from onnxcam.structure.layer import Layer
from onnxcam.testing import tapped
from tests.architectures import NETWORKS
from tests.architectures.network import PICTURE, SIZE, Wrapped, lively
from tests.networks import export

__all__ = ["EXPORTS", "in_order", "main", "row"]

EXPORTS: dict[str, dict[str, Any]] = {
    "dynamo": {},
    "dynamo, open batch": {"dynamic_shapes": (({0: torch.export.Dim.DYNAMIC},),)},
    "torchscript": {"dynamo": False, "opset_version": 18},
    "torchscript, open batch": {"dynamo": False, "opset_version": 18, "dynamic_axes": {"x": {0: "batch"}}},
}
_PLACED = 0.2
"""The least share of the changes that the place of the square explains, if the order is to be judged."""

_MOVING, _NOT_MOVING = 0.6, 0.4
"""The cells move with the square from this correlation on, and do not below the second; between, it is unclear."""

COLUMNS = ("network", "exporter", "layer", "size", "known from", "order", "passed over")


def in_order(model: onnx.ModelProto, layer: Layer, side: int = SIZE, squares: int = 32) -> bool | None:
    """Return whether the cells of *layer* that change most move with a square in the image.

    None if no cell answers to one place more than to others: random weights may spread each change over all cells.
    """
    rng = np.random.default_rng(0)
    session = InferenceSession(tapped(model, [layer.tensor]).SerializeToString())
    size = 2 * side // 5
    places, found = [], []
    for _ in range(squares):
        x = rng.standard_normal((1, 3, side, side)).astype(np.float32)
        row, column = rng.integers(0, side - size + 1, 2)
        changed = x.copy()
        square = changed[:, :, row : row + size, column : column + size]
        square[:] = rng.standard_normal(square.shape)
        outputs = (session.run([layer.tensor], {"x": value})[0] for value in (x, changed))
        before, after = (layer.layout.view(output)[0] for output in outputs)
        found.append(np.square(after.astype(np.float64) - before).sum(axis=0))
        places.append((row, column))
    return moves_with(np.asarray(found), np.asarray(places, float))


def moves_with(changes: NDArray[Any], places: NDArray[Any]) -> bool | None:
    """Return whether the centre of *changes* [squares, *grid] moves with *places* [squares, axes], None if unclear."""
    flat = changes.reshape(len(changes), -1)
    if not flat.any(axis=0).all() or not flat.any(axis=1).all():
        return None
    flat = flat / flat.sum(axis=1, keepdims=True)
    flat = flat / flat.mean(axis=0)
    if _explained(flat, places) < _PLACED:
        return None
    cells = np.indices(changes.shape[1:]).reshape(changes.ndim - 1, -1)
    centres = flat @ cells.T / flat.sum(axis=1, keepdims=True)
    pairs = zip(places.T, centres.T, strict=True)
    least = min(float(np.corrcoef(place, centre)[0, 1]) if np.ptp(centre) > 0 else 0 for place, centre in pairs)
    return None if _NOT_MOVING < least < _MOVING else least >= _MOVING


def _explained(changes: NDArray[Any], places: NDArray[Any]) -> float:
    """Return the share of the variance of *changes* [squares, cells] that a quadratic of *places* explains, adjusted.

    It does not depend on the order of the cells.
    """
    row, column = (places - places.mean(axis=0)).T
    terms = np.stack([np.ones_like(row), row, column, row**2, column**2, row * column], axis=1)
    rest = changes - terms @ np.linalg.lstsq(terms, changes, rcond=None)[0]
    freedom = (len(terms) - 1) / (len(terms) - terms.shape[1])
    return float(1 - freedom * (rest**2).sum() / ((changes - changes.mean(axis=0)) ** 2).sum())


def row(name: str, exporter: str) -> tuple[str, ...]:
    """Return the cells of one row."""
    torch.manual_seed(0)
    network = lively(Wrapped(NETWORKS[name]()))
    pictures = torch.rand(2 if "dynamo, open" in exporter else 1, *PICTURE[1:])
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            model = export(network, pictures, **EXPORTS[exporter])
    except Exception:
        return name, exporter, *["–"] * 5
    try:
        description = ModelDescription(model, "cpu", preprocess="unit")
        aim = description.task.aim
        if aim is None:
            return name, exporter, "–", "", "", "", f"is read as {description.task.name}"
        choice = choose_layer(description.open(), aim, None)
    except Exception as error:
        return name, exporter, f"**{type(error).__name__}**: {error}", "", "", "", ""
    layer = choice.layer
    order = {True: "yes", False: "**no**", None: "not seen"}[in_order(model, layer)]
    return name, exporter, f"`{layer.name}`", layer.size, choice.source, order, choice.reason.partition("; ")[2]


def main(names: list[str]) -> None:
    """Print the table of the networks *names*, all classifiers by default."""
    logging.disable(logging.ERROR)
    warnings.simplefilter("ignore")
    print(f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS), sep="\n", flush=True)
    for name in names or _classifiers():
        for exporter in EXPORTS:
            print(f"| {' | '.join(row(name, exporter))} |", flush=True)


def _classifiers() -> Iterator[str]:
    for name, make in NETWORKS.items():
        made = make()
        if made.output == "logits" and made.inputs == {"pixel_values": PICTURE} and not made.constants:
            yield name


if __name__ == "__main__":
    main(sys.argv[1:])
