"""``python tools/layers_transformers.py ROWS [NAME ...]``: the layers of networks of `transformers`, row by row.

Each row is added to the file ROWS, JSON lines, as soon as it is known, and not measured again; a network gets a quarter
of an hour. The table of all rows is written to docs/layers-transformers.md. ``SIZE=128`` in the environment sets the
length of the images' sides: at the 64 pixels of the tests the last stage of some networks is a single cell.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import sys
import time
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import onnx_ir as ir
import torch

from onnxcam.model.description import ModelDescription
from onnxcam.model.diagnose import choose_layer
from onnxcam.structure.layer import ancestors
from tests.architectures import NETWORKS
from tests.architectures.network import PICTURE, Network, Wrapped, lively
from tests.networks import export
from tools.layers import EXPORTS, in_order

__all__ = ["OUTPUTS", "main", "measure"]

_BOXES, _MASKS = ("logits", "pred_boxes"), ("class_queries_logits", "masks_queries_logits")
_POOLED = ("last_hidden_state", "pooler_output")
OUTPUTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("yolos", "detr", "rt_detr", "conditional_detr", "deformable_detr"), _BOXES),
    **dict.fromkeys(("mask2former", "maskformer", "eomt"), _MASKS),
    **dict.fromkeys(("depth_anything", "zoedepth", "glpn"), ("predicted_depth",)),
    **dict.fromkeys(("vitpose", "vitpose_classic"), ("heatmaps",)),
    "clip_embeds": ("image_embeds", "last_hidden_state"),
    **dict.fromkeys(("clip", "siglip", "dinov2_model", "dinov3_vit"), _POOLED),
    **dict.fromkeys(("trocr_encoder", "donut_swin", "sam_vision", "aimv2"), ("last_hidden_state",)),
}
"""The outputs of networks that do not classify, as they are named in exported files; the others have ``logits``."""

_ORDERS = {True: "yes", False: "no", None: "unclear"}
LIMIT = 900  # seconds for a network
TABLE = Path(__file__).parents[1] / "docs" / "layers-transformers.md"
COLUMNS = ("network", "exporter", "read as", "layer", "size", "known from", "before it", "order", "CPU seconds", "said")
HEAD = """# Layers of transformers' vision models

The layer that `auto` takes in small random vision networks of `transformers`, on images of 128 × 128 pixels, by both
exporters. `SIZE=128 python tools/layers_transformers.py ROWS` measures them again and writes the table anew.

- *before it*: the share of the network's convolutions and matrix products that lie before the layer. In a transformer
  whose score reads the class token, the last tokens that count lie before the last attention.
- *order*: whether the cells that change most move with a square in the image. "unclear": the random network carries
  each change to all cells, and the square shows nothing.
- *CPU seconds*: to open the model, and to choose the layer; an empty cell has not been measured.
- *said*: what `inspect` says of other branches, and of activations behind the layer.

[Another table](layers.md) has the networks of timm.

## Which method for a vision transformer

- All tokens attend to each other (ViT, DeiT, BEiT, DINOv2): `attnlrp` or `chefer`. They are the best for the
  transformer of [truth.md](truth.md), and cost about one more pass.
- The image tower of CLIP: the same, or `grad-eclip`, which is made for it. It reads the last block alone, and costs
  next to nothing.
- Windows or pooled keys (Swin, PVT, SegFormer): `attnlrp`, or `gradcam` at the layer of the table. Methods that
  multiply attention need all tokens in every block.
- Devices without the operators of a backward pass: `rollout`. It needs no gradient, but is the same for every class.

`attnlrp` takes every form of a file. The others need attention as separate operators, or as a fused operator of ONNX
or ONNX Runtime. [Decision 30](decisions/0030-transformers.md) has the figures.

## The table

"""


class Picked(torch.nn.Module):
    """A network as a function of the image, with several of its outputs."""

    def __init__(self, network: Network, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList([Wrapped(Network(network.module, name)) for name in outputs])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the outputs."""
        found = self.parts[0].module(**{self.parts[0].names[0]: x})
        return tuple(getattr(found, part.output[0]) for part in self.parts)


def measure(name: str, kind: str) -> dict[str, Any]:
    """Return the row of the network *name* as the exporter *kind* writes it."""
    torch.manual_seed(0)
    made, outputs = NETWORKS[name](), OUTPUTS.get(name, ("logits",))
    network = lively(Picked(made, outputs) if name in OUTPUTS else Wrapped(made))
    row: dict[str, Any] = {"network": name, "exporter": kind}
    try:
        model = export(network, torch.rand(PICTURE), **EXPORTS[kind], output_names=list(outputs))
    except Exception:
        return row | {"read as": "–"}
    started = time.process_time()
    description = ModelDescription(model, "cpu", preprocess="unit")
    opened = time.process_time()
    row["read as"] = description.task.name
    aim, prepared = description.task.aim, description.open()
    if aim is None:
        return row | {"CPU seconds": f"{opened - started:.1f}"}
    choice = choose_layer(prepared, aim, None)
    seconds = f"{opened - started:.1f} + {time.process_time() - opened:.1f}"
    row["before it"] = f"{_before(prepared.model.graph, choice.layer.value, aim.locate(prepared.model.graph)):.2f}"
    row |= {"layer": f"`{choice.layer.name}`", "size": choice.layer.size, "known from": choice.source}
    row |= {"order": _ORDERS[in_order(model, choice.layer)], "CPU seconds": seconds}
    return row | {"said": choice.reason.partition("; ")[2]}


def _before(graph: ir.Graph, layer: ir.Value, scores: ir.Value) -> float:
    """Return the share of the products before *scores* that lie before *layer*."""
    products = {node.outputs[0] for node in graph if node.op_type in ("Conv", "MatMul", "Gemm")}
    return len(products & ancestors(layer)) / max(1, len(products & ancestors(scores)))


def main(rows: Path, names: list[str]) -> None:
    """Add the rows of the networks *names*, all by default, to the file *rows*, and write the table."""
    for name in names or NETWORKS:
        process = multiprocessing.get_context("fork").Process(target=_add, args=(rows, name))
        process.start()
        process.join(LIMIT)
        process.kill()
    order = {name: place for place, name in enumerate(NETWORKS)}
    found = sorted(_read(rows), key=lambda row: (order[row["network"]], [*EXPORTS].index(row["exporter"])))
    table = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    table += [f"| {' | '.join(str(row.get(column, '')) for column in COLUMNS)} |" for row in found]
    TABLE.write_text(HEAD + "\n".join(table) + "\n", "utf-8")


def _add(rows: Path, name: str) -> None:
    known = {(row["network"], row["exporter"]) for row in _read(rows)}
    for kind in EXPORTS:
        if (name, kind) not in known:
            found = json.dumps(measure(name, kind))
            with rows.open("a", encoding="utf-8") as file:
                file.write(found + "\n")


def _read(rows: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in rows.read_text("utf-8").splitlines()] if rows.exists() else []


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]), sys.argv[2:])
