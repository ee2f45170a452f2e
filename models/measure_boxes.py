"""At which threshold the box of a map fits best: `python -m models.measure_boxes [FOLDER]`.

For the networks of the family that look at objects, and thresholds from 0.1 to 0.8 of a map's maximum: the mean IoU
of the box around the map's largest part with the box of the truth. Beside it *other*, the same with the map of another
image, which knows nothing of this one: what a threshold gives to any map of that size.

FOLDER holds photos (`images/`) and networks (`models/`, by the names below). There the truth is the box that a
detector is most certain of.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.family import HELD_OUT
from models.measure import around, map_of
from models.tasks import task
from onnxcam import Explainer
from onnxcam.errors import OnnxcamError
from onnxcam.media import heatmap
from onnxcam.metrics.localisation import box_iou
from onnxcam.targets.notation import Corners

NETWORKS = ("classifier", "classifier_fc", "classifier_vit", "clip_image", "detector", "segmenter")
METHODS = ("gradcam", "gradcam++", "layercam", "refined-layercam", "integrated-gradients", "lrp")
THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8)
SAMPLES = 24
PHOTOS = (("mobilenet_v2_224_qdq_nchw_int8", "imagenet,resize=256,crop=224"), ("squeezenet10_dc_f32", "caffe"))
DETECTOR = "fastestdet_coco"

Pair: TypeAlias = tuple[NDArray[np.float32], Sequence[Corners]]


def of_world(name: str, method: str) -> Iterator[Pair]:
    """Yield maps and the boxes of their truth, on held-out images of a network of the family."""
    network = task(name)
    explainer = Explainer(network.path, method=method, provider="cpu", **network.options)
    with tempfile.TemporaryDirectory() as folder:
        for sample in network.samples(HELD_OUT, SAMPLES):
            truth = [*heatmap.boxes(sample.truth.astype(np.float32)), around(sample.truth)]
            yield map_of(explainer, sample, Path(folder)), truth


def of_photos(folder: Path, model: str, preprocess: str, method: str) -> Iterator[Pair]:
    """Yield maps of photos of the top class, and the box of a detector's most certain object."""
    detector = Explainer(folder / "models" / f"{DETECTOR}.onnx", preprocess="unit", provider="cpu")
    explainer = Explainer(folder / "models" / f"{model}.onnx", method=method, preprocess=preprocess, provider="cpu")
    for path in sorted((folder / "images").glob("*.*")):
        try:
            found = detector(str(path))
            if found.detection is not None and (found.probability or 0) >= 0.5:
                yield explainer(str(path)).map, [found.detection]
        except OnnxcamError:
            continue


def row(pairs: Sequence[Pair]) -> list[tuple[float, float]]:
    """Return for each threshold the mean IoU of the maps, and of the maps of other images, resized to this one's."""
    import cv2

    others = [
        np.asarray(cv2.resize(pairs[at - 1][0], heat.shape[::-1]), np.float32) for at, (heat, _) in enumerate(pairs)
    ]
    return [
        (
            float(np.mean([box_iou(heat, truth, threshold=one) for heat, truth in pairs])),
            float(
                np.mean([box_iou(heat, truth, threshold=one) for heat, (_, truth) in zip(others, pairs, strict=True)])
            ),
        )
        for one in THRESHOLDS
    ]


def main() -> None:
    """Print a table: in each cell the IoU in per cent, and that of other images' maps."""
    print(f"{'':40}", *(f"{one:7.2f}" for one in THRESHOLDS))
    rows = []
    for method in METHODS:
        jobs = [(name, of_world(name, method)) for name in NETWORKS]
        jobs += [(name, of_photos(Path(one), name, how, method)) for one in sys.argv[1:2] for name, how in PHOTOS]
        for name, job in jobs:
            try:
                pairs = list(job)
            except OnnxcamError:
                continue  # the method does not apply
            rows.append((method, row(pairs)))
            cells = (f"{100 * own:3.0f}/{100 * other:3.0f}" for own, other in rows[-1][1])
            print(f"{method} {name} ({len(pairs)})".ljust(40), *cells, flush=True)
    for kind, methods in (("CAMs", METHODS[:4]), ("maps of pixels", METHODS[4:])):
        mean = np.mean([found for method, found in rows if method in methods], axis=0)
        print(f"mean, {kind}".ljust(40), *(f"{100 * own:3.0f}/{100 * other:3.0f}" for own, other in mean))


if __name__ == "__main__":
    main()
