"""``python tools/timm_layers.py FOLDER [NAME ...]``: the layers that ``auto`` takes in timm's networks.

The networks are those of `tools/timm_networks.py`, by both exporters of PyTorch, with a fixed and an open batch. timm
needs torchvision, which brings PyTorch with CUDA, so it has an environment of its own::

    python -m venv timm && timm/bin/pip install -e . timm transformers pytest onnxscript
    timm/bin/python tools/timm_layers.py rows

FOLDER keeps one file a row: a second run adds the rows that are missing. Without names the page docs/layers.md is
written too. *Order* is tested as in `tools/layers.py`.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import multiprocessing
import sys
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import onnx
import timm  # noqa: F401
import torch

from onnxcam.errors import OnnxcamError
from onnxcam.model.description import ModelDescription
from onnxcam.model.diagnose import choose_layer
from onnxcam.structure.layer import Choice, Layer
from onnxcam.testing import run, tapped
from tests.networks import export
from tools.layers import EXPORTS, in_order
from tools.layers_page import page
from tools.timm_networks import NETWORKS, module_of, size_of, small

__all__ = ["main"]

SECONDS, AT_ONCE = 900, 1
_WEIGHTED = frozenset(("Conv", "MatMul", "Gemm", "ConvTranspose", "Attention", "LSTM"))


def exported(name: str, exporter: str, folder: Path) -> onnx.ModelProto:
    """Return the network *name* as *exporter* writes it, from *folder* if it is there."""
    path = _path(name, exporter, folder, "onnx")
    if not path.exists():
        torch.manual_seed(0)
        network, side = small(name), size_of(name)
        pictures = torch.rand(2 if "dynamo, open" in exporter else 1, 3, side, side)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            model = export(network, pictures, **_options(exporter))
        model.metadata_props.add(key="cells", value=json.dumps(cells(network, side)))
        onnx.save(model, path)
    return onnx.load(path)


def _options(exporter: str) -> dict[str, Any]:
    """Return the options of *exporter* for a network that takes one tensor."""
    options = EXPORTS[exporter]
    return {**options, "dynamic_shapes": options["dynamic_shapes"][0]} if "dynamic_shapes" in options else options


def cells(network: Any, side: int) -> list[int]:
    """Return how many positions the features of *network* have: one number for each branch."""
    with torch.no_grad():
        found = network.forward_features(torch.rand(1, 3, side, side))
    if isinstance(found, (tuple, list)):  # branches, or states beside the grid
        return [*(_positions(network, x) for x in found), _reduced(network, side)]
    alone = found.ndim == 3 and found.shape[1] < 4  # class tokens
    return [_reduced(network, side) if alone else _positions(network, found)]


def _reduced(network: Any, side: int) -> int:
    """Return the number of cells that timm states for the last stage, 0 where it states none."""
    info = getattr(network, "feature_info", None)
    return int(np.ceil(side / info[-1]["reduction"])) ** 2 if info else 0


def _positions(network: Any, x: torch.Tensor) -> int:
    if x.ndim == 3:
        return int(x.shape[1]) - (getattr(network, "num_prefix_tokens", 0) or 0)
    last = x.shape[-1] == network.num_features and x.shape[1] != network.num_features
    return int(np.prod(x.shape[1:3] if last else x.shape[2:]))


def row(name: str, exporter: str, folder: Path) -> dict[str, Any]:
    """Return one row of the table."""
    found: dict[str, Any] = {"network": name, "exporter": exporter, "side": size_of(name)}
    try:
        model = exported(name, exporter, folder)
    except Exception as error:
        return found | {"not exported": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
    try:
        choice, model = _choice(model)
    except OnnxcamError as error:
        return found | {"refused": str(error)}
    except Exception as error:
        return found | {"failed": f"{type(error).__name__}: {error}"[:500]}
    layer = choice.layer
    return found | {
        "layer": layer.name,
        "tensor": layer.tensor,
        "size": _grid(model, layer, size_of(name)),
        "source": choice.source,
        "said": choice.reason.partition("; ")[2],
        "order": in_order(model, layer, size_of(name)),
        "behind": _behind(model, layer.tensor),
        "cells": json.loads(model.metadata_props[-1].value),
    }


def _choice(model: onnx.ModelProto) -> tuple[Choice, onnx.ModelProto]:
    description = ModelDescription(model, "cpu", preprocess="unit")
    aim = description.task.aim
    if aim is None:
        raise OnnxcamError(f"is read as {description.task.name}")
    return choose_layer(description.open(), aim, None), model


def _grid(model: onnx.ModelProto, layer: Layer, side: int) -> list[int]:
    x = np.zeros((1, 3, side, side), np.float32)
    return list(layer.layout.view(run(tapped(model, [layer.tensor]), {"x": x})[layer.tensor]).shape[2:])


def _behind(model: onnx.ModelProto, tensor: str) -> list[int]:
    """Return the number of products and convolutions behind *tensor*, and of all."""
    reached, behind = {tensor}, 0
    nodes = [node for node in model.graph.node if node.op_type in _WEIGHTED]
    for node in model.graph.node:
        if not reached.isdisjoint(node.input):
            reached.update(node.output)
            behind += node.op_type in _WEIGHTED
    return [behind, len(nodes)]


def _apart(rows: Iterable[tuple[str, str, Path]]) -> None:
    """Write each row in a process of its own, some at once, in the time that a row may take."""
    waiting, running = [row for row in rows if not _path(*row).exists()], []
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            process = multiprocessing.get_context("fork").Process(target=_write, args=waiting[0])
            process.start()
            running.append((process, time.monotonic(), waiting.pop(0)))
        for process, start, row in list(running):
            process.join(0.5)
            late = time.monotonic() - start > SECONDS
            if process.is_alive() and not late:
                continue
            process.kill()
            running.remove((process, start, row))
            if not _path(*row).exists():
                reason = "the time limit" if late else f"exit {process.exitcode}"
                _path(*row).write_text(json.dumps({"network": row[0], "exporter": row[1], "failed": reason}))
            print(_path(*row).read_text(), flush=True)


def _path(name: str, exporter: str, folder: Path, ending: str = "json") -> Path:
    return folder / f"{name}.{exporter.replace(', ', '-').replace(' ', '-')}.{ending}"


def _write(name: str, exporter: str, folder: Path) -> None:
    found = row(name, exporter, folder)
    _path(name, exporter, folder).write_text(json.dumps(found))


def main(folder: str, names: Iterable[str] = (), exporters: Iterable[str] = ()) -> None:
    """Make the rows of the networks *names*; by default all of them, and the page."""
    logging.disable(logging.ERROR)
    warnings.simplefilter("ignore")
    Path(folder).mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    networks, ways = list(names) or NETWORKS, list(exporters) or EXPORTS
    _apart((name, exporter, Path(folder)) for exporter in ways for name in networks)
    if not names:
        rows = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json"))]
        modules = {row["network"]: module_of(row["network"]) for row in rows}
        (Path(__file__).parents[1] / "docs" / "layers.md").write_text(page(rows, modules))


if __name__ == "__main__":
    chosen = [name for name in sys.argv[2:] if name not in EXPORTS]
    main(sys.argv[1], chosen, [name for name in sys.argv[2:] if name in EXPORTS])
