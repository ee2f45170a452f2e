"""The synthetic world keeps its promises, and the network that was trained on it knows the sample images."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "onnxcam" / "assets"
PICTURES = ("shapes_1.png", "shapes_2.png")


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"onnxcam_models_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


world = _load(ROOT / "models" / "world.py")


def _scenes(count: int, size: int = 96) -> list[Any]:
    return [world.sample(np.random.default_rng([7, k]), size) for k in range(count)]


def test_a_seed_gives_one_scene() -> None:
    first, again, other = (world.sample(np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.image, again.image)
    assert [o.label for o in first.objects] == [o.label for o in again.objects]
    for a, b in zip(first.objects, again.objects, strict=True):
        np.testing.assert_array_equal(a.mask, b.mask)
    assert not np.array_equal(first.image, other.image)


def test_the_scene_does_not_depend_on_the_size() -> None:
    for small, large in zip(_scenes(10, 96), _scenes(10, 288), strict=True):
        assert [(o.label, o.colour) for o in small.objects] == [(o.label, o.colour) for o in large.objects]
        for a, b in zip(small.objects, large.objects, strict=True):
            np.testing.assert_allclose(np.array(a.box) * 3, b.box, atol=4)


def test_every_class_colour_and_count_appears() -> None:
    objects = [o for s in _scenes(150) for o in s.objects]
    assert {o.label for o in objects} == set(world.LABELS)
    assert {o.colour for o in objects} == set(world.PALETTE)
    assert {len(s.objects) for s in _scenes(150)} == {1, 2, 3, 4}


def test_the_count_can_be_asked_for() -> None:
    assert {len(world.sample(np.random.default_rng(k), count=2).objects) for k in range(20)} == {2}


def test_objects_are_visible_and_apart() -> None:
    for scene in _scenes(100):
        masks = np.array([o.mask for o in scene.objects])
        assert masks.sum(0).max() == 1
        assert masks.mean((1, 2)).min() > 0.01


def test_masks_hold_the_objects_own_colour() -> None:
    for scene in _scenes(50):
        for thing in scene.objects:
            seen = np.median(scene.image[thing.mask], axis=0)
            np.testing.assert_allclose(seen, world.PALETTE[thing.colour], atol=60)


OUTLINES = {  # area over that of the circle around it, and over that of its convex hull
    "circle": (1.0, 1.0),
    "square": (0.637, 1.0),
    "triangle": (0.413, 1.0),
    "star": (0.393, 0.519),
    "cross": (0.642, 0.72),
    "ring": (0.75, 0.75),
}


@pytest.mark.parametrize("number", range(30))
def test_masks_have_the_shape_of_their_label(number: int) -> None:
    (thing,) = world.sample(np.random.default_rng([8, number]), 288, count=1).objects
    points = np.argwhere(thing.mask).astype(np.float32)
    (y, x), radius = cv2.minEnclosingCircle(points)
    fill, hull = thing.mask.sum() / (np.pi * radius**2), cv2.contourArea(cv2.convexHull(points))
    assert (fill, thing.mask.sum() / hull) == pytest.approx(OUTLINES[thing.label], abs=0.06)
    assert thing.mask[round(y), round(x)] == (thing.label != "ring")


def test_the_mask_of_a_class_joins_its_objects() -> None:
    scene = next(s for s in _scenes(100) if len(s.labels) < len(s.objects))
    assert sum(scene.mask(label).sum() for label in scene.labels) == sum(o.mask.sum() for o in scene.objects)
    absent = next(label for label in world.LABELS if label not in scene.labels)
    assert not scene.mask(absent).any()


def _truth() -> dict[str, list[dict[str, Any]]]:
    return json.loads((ASSETS / "shapes_truth.json").read_text("utf-8"))


def test_the_assets_are_small() -> None:
    files = [p for p in ASSETS.iterdir() if p.name.startswith("shapes")]
    assert (ASSETS / "shapes.onnx").stat().st_size <= 500_000
    assert sum(p.stat().st_size for p in files) < 700_000


@pytest.mark.parametrize("name", PICTURES)
def test_the_sample_pictures_agree_with_their_truth(name: str) -> None:
    objects = _truth()[name]
    masks = cv2.imread(str(ASSETS / name.replace(".png", "_masks.png")), cv2.IMREAD_UNCHANGED)
    assert masks.shape == cv2.imread(str(ASSETS / name)).shape[:2]
    assert set(np.unique(masks)) == set(range(len(objects) + 1))
    assert len({o["label"] for o in objects}) >= 2
    for k, thing in enumerate(objects, start=1):
        y, x = np.nonzero(masks == k)
        assert thing["box"] == [x.min(), y.min(), x.max() + 1, y.max() + 1]


@pytest.mark.parametrize("name", PICTURES)
def test_the_network_knows_the_sample_pictures(name: str) -> None:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(ASSETS / "shapes.onnx", providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["onnxcam"])
    assert about["labels"] == list(world.LABELS)

    image = cv2.resize(cv2.imread(str(ASSETS / name))[..., ::-1], (96, 96), interpolation=cv2.INTER_LINEAR)
    (logits,) = session.run(None, {"image": np.float32([image.transpose(2, 0, 1)]) / 255})
    present = {o["label"] for o in _truth()[name]}
    assert {label for label, y in zip(about["labels"], logits[0], strict=True) if y > 0} == present
    assert min(y for label, y in zip(about["labels"], logits[0], strict=True) if label in present) > 2


def test_the_network_file_does_not_tell_where_it_was_made() -> None:
    content = (ASSETS / "shapes.onnx").read_bytes()
    for trace in (b"stack_trace", b"site-packages", b".py", b"/home/", b"/tmp/"):
        assert trace not in content
    assert b"pkg.torch.onnx.name_scopes" in content
