"""How often maps are right, on the worlds whose truth is known: `python -m models.measure [NETWORK…]`.

For every network of the family and every method that applies: how often the peak of the map lies on what the target is
about (*pointing*), the share of the map that lies there (*energy*), and the IoU of the box around its largest part with
the truth's box (*IoU*). Beside them *chance*, a random pixel or all of the image, and *centre*, a Gaussian in the
middle. Writes `docs/truth.md`, of which `--check` compares nothing but prints the rows that are no better than chance.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from models.family import HELD_OUT, Mask, Sample, Task
from models.tasks import FAMILY, task
from onnxcam import Explainer, Explanation
from onnxcam.engine import limit_threads
from onnxcam.errors import OnnxcamError
from onnxcam.media.heatmap import boxes
from onnxcam.methods import METHODS
from onnxcam.metrics.localisation import box_iou, energy_pointing, pointing_game
from onnxcam.metrics.map_sources import centred

PAGE = Path(__file__).parents[1] / "docs" / "truth.md"
FIGURES = PAGE.with_suffix(".json")
SAMPLES, FEWER = 64, 16  # for methods of one pass, and of many
FEWEST = {("volumes", "sobol"): 2}  # 16,416 runs of each
CHANCE, CENTRE = "chance", "centre"
OF_ONE_CLASS = ("finercam",)  # compares it with the others: what is asked about two classes already is left out


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


def measure(name: str, method: str) -> Row:
    """Return the row of one network and method, or of `CHANCE` or `CENTRE`."""
    samples = _samples(name)
    if method == CHANCE:
        return _row(name, CHANCE, samples, [np.ones(s.truth.shape, np.float32) for s in samples], _random_peak)
    if method == CENTRE:
        return _row(name, CENTRE, samples, [centred(s.truth.shape) for s in samples])
    return _of_method(task(name), method, samples)


@functools.cache
def _samples(name: str) -> Sequence[Sample]:
    return list(task(name).samples(HELD_OUT, SAMPLES))


def _of_method(network: Task[Any], method: str, samples: Sequence[Sample]) -> Row:
    start = time.perf_counter()
    chosen = samples if METHODS[method].in_graph else samples[: FEWEST.get((network.name, method), FEWER)]
    if method in OF_ONE_CLASS:
        chosen = [sample for sample in chosen if sample.target in network.card.labels] or chosen  # or let it refuse
    try:
        explainer = Explainer(network.path, method=method, provider="cpu", **network.options)
        with tempfile.TemporaryDirectory() as folder:
            maps = [_map(explainer, sample, Path(folder)) for sample in chosen]
    except OnnxcamError as error:
        return Row(network.name, method, 0, 0, None, 0, 0, str(error).splitlines()[0])
    return _row(network.name, method, chosen, maps, seconds=(time.perf_counter() - start) / len(chosen))


def explain_sample(explainer: Explainer, sample: Sample, folder: Path) -> Explanation:
    """Explain a sample; what it names is handed over as files in *folder*, as a user would."""
    files = {name: _saved(array, folder / name) for name, array in sample.attached.items()}
    feeds = dict(sample.feeds)
    picture = feeds.pop(explainer.network.picture)
    return explainer(picture, sample.target.format(**files), feeds)


def _map(explainer: Explainer, sample: Sample, folder: Path) -> np.ndarray:
    try:
        return explain_sample(explainer, sample, folder).map
    except OnnxcamError as error:
        if "zero everywhere for this image" in str(error):
            return np.zeros(sample.truth.shape, np.float32)
        raise


def _saved(array: np.ndarray, path: Path) -> str:
    if array.ndim == 3 and array.shape[-1] != 3:
        path = path.with_suffix(".npy")
        np.save(path, array)
    else:
        path = path.with_suffix(".png")
        cv2.imwrite(str(path), array[..., ::-1] if array.ndim == 3 else array)
    return str(path)


def _row(
    network: str,
    method: str,
    samples: Sequence[Sample],
    maps: Sequence[np.ndarray],
    pointing: Callable[[np.ndarray, Mask], float] | None = None,
    seconds: float = 0.0,
) -> Row:
    point = pointing or (lambda heat, mask: _points(heat, mask))
    pairs = [(heat, sample.truth) for heat, sample in zip(maps, samples, strict=False)]
    ious = [_iou(heat, truth) for heat, truth in pairs if truth.ndim == 2]
    return Row(
        network,
        method,
        float(np.mean([point(heat, truth) for heat, truth in pairs])),
        float(np.mean([energy_pointing(heat, truth) for heat, truth in pairs])),
        float(np.mean(ious)) if ious else None,
        len(pairs),
        seconds,
    )


def _points(heat: np.ndarray, mask: Mask) -> float:
    if heat.ndim == 2:
        return pointing_game(heat, mask, tolerance=0)
    return float(heat.max() > 0 and mask[np.unravel_index(int(heat.argmax()), heat.shape)])


def _random_peak(heat: np.ndarray, mask: Mask) -> float:
    return float(mask.mean())


def _iou(heat: np.ndarray, truth: Mask) -> float:
    """Return the best IoU of the box around the map's largest part with the boxes of the truth's parts, or of all."""
    return box_iou(heat, [*boxes(truth.astype(np.float32)), _around(truth)])


def _around(mask: Mask) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(mask)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


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


_HEAD = """# Are the maps right?

The networks of `models/` were trained on worlds whose truth is known ([models/README.md](../models/README.md)): for
each held-out image there is a target and a mask of what it is about (of a keypoint a circle of 6 pixels).
`python -m models.measure` explains {samples} of them with each method of one pass and {fewer} with each of many (2 with
`sobol` on volumes, which takes 16,416 runs for each); `--method` and the names of networks choose rows and columns, and
`--missing` measures only cells that are empty. Numbers are per cent; – where a method does not apply. *chance* is a
random pixel, and a map that is the same everywhere; *centre* is a Gaussian in the middle of the image. `signals` and
`keywords` are networks of signals and have times in place of pixels. `finercam`, which itself sets a class against
others, is asked about targets of one class only, not about the contrasts (`star-ring`) of the classifiers.
"""
_WHY = """## What is no better than chance, and why

Each of these was looked into, and is what the method is, unless it says otherwise:

- `eigencam`, `kpcacam` and `fem` do not look at the target. They find what stands out: where the target is an object
  that is often the right one; where it is a patch of the output (upscaler, compressor, renderer) it is mostly another
  place. `fem` weighs channels by their means, which is meant for rectified activations: behind the PReLU of volumes
  and the last convolution of upscaler these have both signs, and with weights of one more peaks lie on some object (0
  becomes 25 %, 8 becomes 58 %). The tokens of classifier_registers have both signs too.
- `sscam` of classifier_registers, right in one of 16 pictures, was not looked into.
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
_TABLES = (
    ("Pointing", "How often the peak of the map lies on what the target is about, to the pixel.", "pointing"),
    ("Energy", "The share of the map that lies on it.", "energy"),
    ("Boxes", "The IoU of the box around the largest part of the map (above 15 %) with the box of the truth.", "iou"),
)


def main() -> None:
    """Measure, print what is doubtful, and write the page."""
    parser = argparse.ArgumentParser(description="Measure every method on every network of the family.")
    parser.add_argument("networks", nargs="*", help="names; default: all that are there")
    parser.add_argument("--method", action="append", choices=METHODS, help="default: all")
    parser.add_argument("--missing", action="store_true", help="only those of which the page has no figure")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each of one thread; default: 1")
    options = parser.parse_args()
    names = [name for name in options.networks or FAMILY if task(name).path.exists()]
    wanted = list(itertools.product(names, (CHANCE, CENTRE, *(options.method or METHODS))))
    if options.missing:
        known = _known()
        wanted = [pair for pair in wanted if " ".join(pair) not in known]
    with ProcessPoolExecutor(options.jobs, initializer=limit_threads, initargs=(1,)) as pool:
        for row in pool.map(measure, *zip(*wanted, strict=True)) if wanted else ():
            _remember(row)
            print(f"{row.network} {row.method}: {row.seconds * row.samples:.0f} s {row.refused}", flush=True)
    order = {name: place for place, name in enumerate((CHANCE, CENTRE, *METHODS))}
    table = sorted(_known().values(), key=lambda row: (FAMILY.index(row.network), order.get(row.method, 99)))
    PAGE.write_text(page(table), "utf-8")
    print("\n".join(doubtful(table)))


def _known() -> dict[str, Row]:
    figures: Mapping[str, Any] = json.loads(FIGURES.read_text("utf-8")) if FIGURES.exists() else {}
    return {key: Row(**row) for key, row in figures.items()}


def _remember(row: Row) -> None:
    """Add *row* to the figures as they are now, so that several runs can fill them."""
    found = _known() | {f"{row.network} {row.method}": row}
    FIGURES.write_text(json.dumps({key: row.__dict__ for key, row in found.items()}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
