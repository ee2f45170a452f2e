"""The page `docs/truth.md`: what was measured, as tables, and why some of it is no better than chance."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.tasks import FAMILY
from onnxcam.methods import METHODS

PAGE = Path(__file__).parents[1] / "docs" / "truth.md"
FIGURES = PAGE.with_suffix(".json")
TRANSFORMERS = PAGE.with_name("truth-transformers.json")
SAMPLES, FEWER = 64, 16  # for methods of one pass, and of many
CHANCE, CENTRE = "chance", "centre"


@dataclass(frozen=True)
class Row:
    """What one method achieves on one network."""

    network: str
    method: str
    pointing: float
    energy: float
    iou: float | None  # None for volumes
    samples: int
    seconds: float
    refused: str = ""  # why the method does not apply


def write_page() -> list[Row]:
    """Write the page of all rows that are known, and return them in its order."""
    order = {name: place for place, name in enumerate((CHANCE, CENTRE, *METHODS))}
    rows = sorted(known().values(), key=lambda row: (FAMILY.index(row.network), order.get(row.method, 99)))
    PAGE.write_text(page(rows), "utf-8")
    return rows


def page(rows: Sequence[Row]) -> str:
    """Return the tables as Markdown: methods down, networks across."""
    networks = list(dict.fromkeys(row.network for row in rows))
    methods = list(dict.fromkeys(row.method for row in rows))
    at = {(row.network, row.method): row for row in rows}
    parts = [_HEAD.format(samples=SAMPLES, fewer=FEWER)]
    for title, text, value in _TABLES:
        parts.append(f"## {title}\n\n{text}\n")
        parts.append(f"| | {' | '.join(networks)} |\n|---|{'---:|' * len(networks)}")
        for method in methods:
            cells = [_cell(at.get((network, method)), value) for network in networks]
            name = method if method in (CHANCE, CENTRE) else f"`{method}`"
            parts.append(f"| {name} | {' | '.join(cells)} |")
        parts.append("")
    if TRANSFORMERS.exists():
        parts.append(transformers(json.loads(TRANSFORMERS.read_text("utf-8"))))
    empty = {m: [n for n in networks if (n, m) not in at] for m in methods}
    left = "; ".join(f"`{method}` ({', '.join(where)})" for method, where in empty.items() if where)
    return "\n".join([*parts, _WHY + (f"\nEmpty cells were not measured: {left}.\n" if left else "")])


def _cell(row: Row | None, value: str) -> str:
    if row is None or row.refused:
        return "–" if row is not None else ""
    number = getattr(row, value)
    return "" if number is None else f"{100 * number:.0f}"


def doubtful(rows: Iterable[Row]) -> list[str]:
    """Return what is no better than chance, in words."""
    rows = list(rows)
    chance = {row.network: row for row in rows if row.method == CHANCE}
    return [
        f"{row.network}, {row.method}: pointing {row.pointing:.0%} (chance {chance[row.network].pointing:.0%})"
        for row in rows
        if not row.refused and row.method not in (CHANCE, CENTRE) and row.pointing <= chance[row.network].pointing
    ]


def interval(hits: int, count: int) -> str:
    """Return the share of *hits* in per cent, and its 95 % interval."""
    z, share = 1.96, hits / count
    middle, width = share + z * z / (2 * count), z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    low, high = ((middle + sign * width) / (1 + z * z / count) for sign in (-1, 1))
    return f"{100 * share:.0f} ({100 * low:.0f}–{100 * high:.0f})"


def transformers(figures: Mapping[str, Any]) -> str:
    """Return the section of the page."""
    found, count = figures["right"], figures["pictures"]
    lines = ["| | " + " | ".join(found) + " |", "|---|" + "---:|" * len(found)]
    for method in next(iter(found.values())):
        cells = [interval(right[method], count) for right in found.values()]
        lines.append(f"| `{method}` | {' | '.join(cells)} |")
    return _TRANSFORMERS.format(count=count, seed=figures["seed"]) + "\n" + "\n".join(lines) + "\n"


def known() -> dict[str, Row]:
    """Return the rows that were measured, by network and method."""
    figures: Mapping[str, Any] = json.loads(FIGURES.read_text("utf-8")) if FIGURES.exists() else {}
    return {key: Row(**row) for key, row in figures.items()}


def remember(row: Row) -> None:
    """Add *row* to the figures as they are now, so that several runs can fill them."""
    found = known() | {f"{row.network} {row.method}": row}
    FIGURES.write_text(json.dumps({key: row.__dict__ for key, row in found.items()}, indent=1) + "\n", "utf-8")


_HEAD = """# Are the maps right?

The networks of `models/` were trained on worlds whose truth is known ([models/README.md](../models/README.md)): for
each held-out image there is a target and a mask of what it is about (of a keypoint a circle of 6 pixels).
`python -m models.measure` explains {samples} of them with each method of one pass and {fewer} with each of many (2 with
`sobol` and `recipro-cam` on volumes, which take 16,416 and 32,768 runs for each); `--method` and the names of networks
choose rows and columns, and `--missing` measures only cells that are empty. Numbers are per cent; – where a method does
not apply. *chance* is a random pixel, and a map that is the same everywhere; *centre* is a Gaussian in the middle of
the image. `signals` and `keywords` are networks of signals and have times in place of pixels. `finercam`, which itself
sets a class against others, is asked about targets of one class only, not about the contrasts (`star-ring`) of the
classifiers.
"""

_WHY = """## What is no better than chance, and why

Each of these was looked into, and is what the method is, unless it says otherwise:

- `eigencam`, `kpcacam` and `fem` do not look at the target. They find what stands out: where the target is an object
  that is often the right one; where it is a patch of the output (upscaler, compressor, renderer) it is mostly another
  place. `fem` weighs channels by their means, which is meant for rectified activations: behind the PReLU of volumes
  and the last convolution of upscaler these have both signs, and with weights of one more peaks lie on some object (0
  becomes 25 %, 8 becomes 58 %). The tokens of classifier_registers have both signs too.
- `deconvnet` does not ask what the rectifiers did going forward. Without max pooling, as in classifier, clip_image,
  classifier_fc and signals, nothing of the image is left: the map of a class is the same for every image (Nie et al.,
  [1805.07039](https://arxiv.org/abs/1805.07039)); in classifier its peak lies in a corner, where no object is.
- `gradcam`, `gradcam++`, `smoothgradcam++`, `xgradcam` and `refinecam`, and without gradients `scorecam`, `sscam`,
  `iscam` and `ablationcam`, have one weight for each channel of the whole layer. One patch of the output (upscaler,
  compressor, renderer) rests on a few cells; a weight for all of them says nothing of where it lies. `hirescam` and
  `layercam`, from the same gradient at the same layer, are right, as is `recipro-cam`, cell by cell. A warning says so
  where gradients are averaged.
- `kpcacam` compares all positions of a layer with each other, and refuses more than 4,096 of them (volumes).
- Methods that cover parts of the image fail for `keypoints`, the ends of a shape. The black patch of `occlusion` is a
  shape with ends of its own: on the ground it lowers the logit of the keypoint by up to 14, on the keypoint by 4. Of
  RISE's images 12 % keep the keypoint (score above a half), and most maps are blank.
- A coordinate of `landmarks` is computed from all cells of the last layers, by dense layers. Evidence has both signs,
  for a larger and for a smaller coordinate, and much of it lies in cells without an object: 20 % of LayerCAM's peaks
  lie on the shape. Methods of these layers (`layercam`, `gradcam`, …) and of patches are no better than chance.
  `gradient-x-input`, the default there, is the best: 39 % in the circle of 6 pixels. The coordinates themselves lie in
  it for 86 %.
- `xrai` gives a segment one value, and the first pixel of the best segment counts as its peak. Segments are enlarged by
  5 pixels, much in these small images, so that this pixel often lies beside the object: on six images of classifier it
  lies on the object in one, and half of the best segment does (chance 8 %).
- In `keywords` most peaks of `fullgrad`, `vargrad`, `eigencam` and `kpcacam` lie outside the word; why was not tested.
  Methods that multiply by the input point right in 100 %. `deconvnet` has its peak at frame 5, 11 or 43 in 16 of 16
  records, whatever they say, for the reason above.
- The compressor rounds its code, through which no gradient passes: methods of a gradient at its layer do not apply.
"""
_BOXES = """The IoU of the box around the largest part of the map with that of the truth. The threshold is 15 % of the
maximum, that of the metric. `Explanation.box` takes 25 % except for maps of single pixels; with that the IoU of CAMs is
51 instead of 49 % ([decision 36](decisions/0036-pictures.md))."""
_TABLES = (
    ("Pointing", "How often the peak of the map lies on what the target is about, to the pixel.", "pointing"),
    ("Energy", "The share of the map that lies on it.", "energy"),
    ("Boxes", _BOXES, "iou"),
)

_TRANSFORMERS = """## Transformers, {count} pictures

Pointing on {count} other pictures (seed {seed}), on which nothing was chosen, with 95 % intervals; those of 64 pictures
are ± 10. `python -m models.measure_transformers` measures it.
"""
