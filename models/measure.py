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
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from models.family import HELD_OUT, Mask, Sample, Task
from models.tasks import FAMILY, task
from models.truth_page import CENTRE, CHANCE, FEWER, SAMPLES, Row, doubtful, known, remember, write_page
from onnxcam import Explainer, Explanation
from onnxcam.engine import limit_threads
from onnxcam.errors import OnnxcamError
from onnxcam.media.heatmap import boxes
from onnxcam.methods import METHODS
from onnxcam.metrics.localisation import box_iou, energy_pointing, pointing_game
from onnxcam.metrics.map_sources import centred

FEWEST = {("volumes", "sobol"): 2, ("volumes", "recipro-cam"): 2}  # 16,416 and 32,768 runs of each
OF_ONE_CLASS = ("finercam",)  # compares it with the others: what is asked about two classes already is left out


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
            maps = [map_of(explainer, sample, Path(folder)) for sample in chosen]
    except OnnxcamError as error:
        return Row(network.name, method, 0, 0, None, 0, 0, str(error).splitlines()[0])
    return _row(network.name, method, chosen, maps, seconds=(time.perf_counter() - start) / len(chosen))


def explain_sample(explainer: Explainer, sample: Sample, folder: Path) -> Explanation:
    """Explain a sample; what it names is handed over as files in *folder*, as a user would."""
    files = {name: _saved(array, folder / name) for name, array in sample.attached.items()}
    feeds = dict(sample.feeds)
    picture = feeds.pop(explainer.network.picture)
    return explainer(picture, sample.target.format(**files), feeds)


def map_of(explainer: Explainer, sample: Sample, folder: Path) -> np.ndarray:
    """Return the map of a sample; zeros where the method has none for this image."""
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
    point = pointing or (lambda heat, mask: points(heat, mask))
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


def points(heat: np.ndarray, mask: Mask) -> float:
    """Return 1 if the peak of a map lies on *mask*, else 0."""
    if heat.ndim == 2:
        return pointing_game(heat, mask, tolerance=0)
    return float(heat.max() > 0 and mask[np.unravel_index(int(heat.argmax()), heat.shape)])


def _random_peak(heat: np.ndarray, mask: Mask) -> float:
    return float(mask.mean())


def _iou(heat: np.ndarray, truth: Mask) -> float:
    """Return the best IoU of the box around the map's largest part with the boxes of the truth's parts, or of all."""
    return box_iou(heat, [*boxes(truth.astype(np.float32)), around(truth)])


def around(mask: Mask) -> tuple[int, int, int, int]:
    """Return the box around *mask*."""
    rows, columns = np.nonzero(mask)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


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
        found = known()
        wanted = [pair for pair in wanted if " ".join(pair) not in found]
    with ProcessPoolExecutor(options.jobs, initializer=limit_threads, initargs=(1,)) as pool:
        for row in pool.map(measure, *zip(*wanted, strict=True)) if wanted else ():
            remember(row)
            print(f"{row.network} {row.method}: {row.seconds * row.samples:.0f} s {row.refused}", flush=True)
    print("\n".join(doubtful(write_page())))


if __name__ == "__main__":
    main()
