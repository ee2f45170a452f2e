"""Draw the pictures of docs/images: `python -m tools.pictures [REAL]`.

REAL is a folder of real networks, photos and a volume; without it the pictures made of them stay as they are. Pages are
photographed by `tools.screenshots`; the gallery is drawn by `tools.gallery`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import onnxcam
from models.family import HELD_OUT
from models.tasks import task
from onnxcam.explainer.explanation import Explanation
from onnxcam.explainer.sheet import Scale
from onnxcam.media import image

ROOT = Path(__file__).parents[1]
IMAGES, ASSETS = ROOT / "docs" / "images", ROOT / "onnxcam" / "assets"
METHODS = ("gradcam", "attnlrp", "occlusion")
SCENE = ASSETS / "shapes_1.png"


def demo() -> None:
    """Draw two classes of one picture."""
    explainer = onnxcam.Explainer(ASSETS / "shapes.onnx")
    _sheet("demo.png", [explainer(SCENE, target) for target in ("star", "cross")], scale="own")


def methods() -> None:
    """Draw one class by methods that work in three ways."""
    found = [onnxcam.Explainer(ASSETS / "shapes.onnx", method=id)(SCENE, "star") for id in METHODS]
    drawn = onnxcam.sheet(found, columns=METHODS, original=True, colorbar=False, dpi=110, scale="own")
    _write("methods.png", drawn.image)


def words() -> None:
    """Draw one picture and three texts."""
    explainer = onnxcam.Explainer(ROOT / "models/clip_image.onnx", text_model=ROOT / "models/clip_text.onnx")
    texts = ('like="a black star"', 'like="a purple ring"', 'like="a yellow circle" unlike="an orange cross"')
    _sheet("words.png", [explainer(SCENE, text) for text in texts], scale="own")


def decoders() -> None:
    """Draw the words that the describer writes of a picture."""
    from onnxcam.decoders.load import join

    _sheet("decoders.png", onnxcam.Explainer(join(ROOT / "models/describer")).each(SCENE), dpi=90, scale="own")


def signals() -> None:
    """Draw a heartbeat that comes too early, and features of a spoken word."""
    parts = [_signal("signals", "early", "gradcam"), _signal("keywords", "left", "gradient-x-input")]
    space = np.full((20, parts[0].shape[1], 3), 255, np.uint8)
    _write("signals.png", np.concatenate([parts[0], space, parts[1]]))


def _signal(name: str, target: str, method: str) -> NDArray[np.uint8]:
    network = task(name)
    explainer = onnxcam.Explainer(network.path, method=method, **network.options)
    sample = next(one for one in network.samples(HELD_OUT, 64) if one.target == target)
    feeds = dict(sample.feeds)
    return explainer(feeds.pop(explainer.network.picture), target, feeds).overlay()


def video() -> None:
    """Draw frames in which a star crosses the picture."""
    import cv2

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (160, 160))
        angle = np.pi * (0.2 * np.arange(10) - 0.5)
        radius = np.where(np.arange(10) % 2, 12.0, 28.0)
        ground = np.random.default_rng(0).normal((90, 130, 90), 4, (160, 160, 3))
        for at in range(40):
            frame = np.clip(ground, 0, 255).astype(np.uint8)
            centre = (-40 + 6 * at, 80 + 20 * np.sin(at / 6))
            star = np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)], 1)
            writer.write(cv2.fillPoly(frame, [np.round(star).astype(np.int32)], (60, 220, 240)))
        writer.release()
        _write("video.png", onnxcam.Explainer(ASSETS / "shapes.onnx", frames=20)(str(path), "star").overlay())


def of_photos(real: Path) -> None:
    """Draw a sheet of photos and methods, and a T1 scan."""
    from onnxcam.explainer.grid import explain_grid

    model = real / "models" / "mobilenet_v2_224_qdq_nchw_int8.onnx"
    labels = real / "labels" / "imagenet1000.txt"
    first = onnxcam.Explainer(model, preprocess="imagenet,resize=256,crop=224", labels=labels)
    every = [first, first.replace(method="layercam"), first.replace(method="lrp")]
    try:
        from skimage import data
    except ImportError:
        raise SystemExit('the photos are those of scikit-image: pip install ".[perturbation]"') from None
    files = {"chelsea.png": data.chelsea(), "coffee.png": data.coffee()}  # both CC0
    with tempfile.TemporaryDirectory() as folder:
        for name, photo in files.items():
            (Path(folder) / name).write_bytes(image.encode(photo, Path(name), 90))
        grid = explain_grid(every, [str(Path(folder) / name) for name in files], [None])
        _write("sheet.jpg", grid.sheet(original=True, dpi=110).image)
    photos = [first(photo) for photo in files.values()]
    parts = [onnxcam.sheet([one], original=True, colorbar=False, dpi=110, scale="own").image for one in photos]
    _write("photo.jpg", _beside(parts))
    scan = np.load(real / "volumes" / "t1_crop_96.npz")
    voxels = np.asarray(scan[scan.files[0]]).squeeze()
    network = onnxcam.Explainer(real / "models" / "brainchop_meshnet3d.onnx", preprocess="unit", window=(64, 64, 64))
    conformed = np.array([[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])  # as FreeSurfer's
    _write("volumes.jpg", replace(network(voxels, "class=2"), affine=conformed).overlay())


def _beside(parts: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    height = max(part.shape[0] for part in parts)
    return np.concatenate(
        [np.pad(part, ((0, height - len(part)), (0, 0), (0, 0)), constant_values=255) for part in parts], axis=1
    )


def _sheet(name: str, found: Sequence[Explanation], dpi: int = 110, scale: Scale = "image") -> None:
    _write(name, onnxcam.sheet(found, original=True, colorbar=False, dpi=dpi, scale=scale).image)


def _write(name: str, drawn: NDArray[np.uint8]) -> None:
    (IMAGES / name).write_bytes(image.encode(drawn, Path(name), 85))
    print(f"{name}: {(IMAGES / name).stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    for draw in (demo, methods, words, decoders, signals, video):
        draw()
    if len(sys.argv) > 1:
        of_photos(Path(sys.argv[1]))
    from tools import screenshots

    screenshots.main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None)
