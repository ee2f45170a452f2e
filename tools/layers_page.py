"""The page docs/layers.md: the rows of `tools/timm_layers.py` as a table, with a verdict on each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

__all__ = ["page", "verdict"]

_HEAD = """# The layers that `auto` chooses

Networks of [timm](https://github.com/huggingface/pytorch-image-models), small and with random weights, as PyTorch's two
exporters write them, with a fixed and an open batch: the layer that `auto` chooses for the class scores, and its grid.
`python tools/timm_layers.py FOLDER` wrote this page.

- **right**: the grid has as many cells as the last features of the network (`forward_features` of timm; `feature_info`
  where these are class tokens or several tensors), and its order is that of the image: a square moves over the
  image, and the cells that change most move with it. This test does not use onnxcam's own probing.
- **other stage**: the order is right, but the grid is not that of the last features. *Told* if the reason of the choice
  names the activations that were passed over. VGG is *in silence*: `auto` takes the activation of its last convolution,
  which a max pooling follows.
- **order not seen**: the last stage, but no cell answers to one place more than to others: random weights spread each
  change over all cells.
- **wrong order**: the cells do not move with the square.
- **refused**: an error with one line, and no layer.
- **not exported**: PyTorch's exporter refuses the network, or does not finish in the time limit.

An empty cell has not been measured. [Another table](layers-transformers.md) has the networks of `transformers`.
"""
_EXPORTERS = ("dynamo", "dynamo, open batch", "torchscript", "torchscript, open batch")


def verdict(row: Mapping[str, Any]) -> str:
    """Return the verdict on *row*."""
    if "not exported" in row:
        return "not exported"
    if "refused" in row or "failed" in row:
        return "refused" if "refused" in row else "failed"
    if row["order"] is False:
        return "wrong order"
    close = [abs(prod(row["size"]) - cells) <= 2 for cells in row["cells"]]  # one or two of them are class tokens
    if any(close):
        return "right" if row["order"] else "order not seen"
    return "other stage, told" if row["said"] else "other stage, in silence"


def page(rows: Sequence[Mapping[str, Any]], modules: Mapping[str, str]) -> str:
    """Return the page for *rows*; *modules* gives the module file of timm of each network."""
    found = {(row["network"], row["exporter"]): row for row in rows}
    networks = sorted({row["network"] for row in rows})
    lines = [_summary(rows, modules), "", f"| network | {' | '.join(_EXPORTERS)} |", "|" + "---|" * 5]
    for name in networks:
        cells = [_cell(found.get((name, exporter))) for exporter in _EXPORTERS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([_HEAD, *lines, "", *_remarks(rows), ""])


def _summary(rows: Sequence[Mapping[str, Any]], modules: Mapping[str, str]) -> str:
    counts = Counter(map(verdict, rows)).most_common()
    read = {modules[row["network"]] for row in rows if "layer" in row}
    networks = {row["network"] for row in rows}
    return (
        f"{len(networks)} networks, {len(rows)} files: "
        + ", ".join(f"{count} {what}" for what, count in counts)
        + f". {len(read)} module files of timm have a layer."
    )


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    what = verdict(row)
    if "layer" not in row:
        return what
    return f"`{row['layer']}` {' × '.join(map(str, row['size']))}" + (f" **{what}**" if what != "right" else "")


def _remarks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each row that is not right, or whose choice has a remark."""
    lines = []
    for row in rows:
        text = row.get("said") or row.get("refused") or row.get("failed") or row.get("not exported")
        if text:
            line = text.replace("\x1b", "").strip()[:200]  # an exporter's message may hold colours
            lines.append(f"- {row['network']}, {row['exporter']}: {verdict(row)}; {line}")
    return ["## Remarks", "", *lines] if lines else []
