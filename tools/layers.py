"""``python tools/layers.py [NAME ...]``: the layer that ``auto`` takes in whole networks, as a table in Markdown.

The networks are those of `tests.architectures` that classify one picture, by both exporters, with a fixed and an open
batch. *Order* is tested apart from onnxcam's own probing: a square moves over the picture, and the cells that change
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

sys.path.insert(0, str(Path(__file__).parents[1]))

import onnx
import torch

from onnxcam.model.description import ModelDescription
from onnxcam.model.diagnose import choose_layer
from onnxcam.structure.layer import Layer
from onnxcam.testing import run, tapped
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
COLUMNS = ("network", "exporter", "layer", "size", "known from", "order", "passed over")


def in_order(model: onnx.ModelProto, layer: Layer, side: int = SIZE, squares: int = 16) -> bool:
    """Return whether the cells of *layer* that change most move with a square in the picture."""
    rng = np.random.default_rng(0)
    inside, view = tapped(model, [layer.tensor]), layer.layout.view
    size = 2 * side // 5
    places, centres = [], []
    for _ in range(squares):
        x = rng.standard_normal((1, 3, side, side)).astype(np.float32)
        row, column = rng.integers(0, side - size + 1, 2)
        changed = x.copy()
        square = changed[:, :, row : row + size, column : column + size]
        square[:] = rng.standard_normal(square.shape)
        before, after = (view(run(inside, {"x": value})[layer.tensor])[0] for value in (x, changed))
        change = np.square(after - before).sum(axis=0)
        change = np.maximum(change - np.median(change), 0) if change.size > 4 else change
        cells = np.indices(change.shape).reshape(2, -1)
        centres.append(cells @ change.ravel() / max(float(change.sum()), 1e-30))
        places.append((row, column))
    pairs = zip(np.asarray(places).T, np.asarray(centres).T, strict=True)
    return all(np.ptp(found) > 0 and float(np.corrcoef(stated, found)[0, 1]) > 0.6 for stated, found in pairs)


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
    order = "yes" if in_order(model, layer) else "**no**"
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
