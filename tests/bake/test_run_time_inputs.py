"""The inputs of baked files: what a host names at run time is explained as Python explains it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.errors import TargetError
from onnxcam.graph.io import load
from onnxcam.metadata.reserved import stamp_of
from tests.bake.baked import ASSETS
from tests.bake.tasks import MODELS, assert_same, baked, flat, letters, shapes, tensors
from tests.zoo.conventions import CONVENTIONS

SEGMENTER, EMBEDDER, READER = (MODELS / f"{name}.onnx" for name in ("segmenter", "embedder", "reader"))
NOWHERE = [-1.0, -1.0]


def zoo(name: str, folder: Path) -> Path:
    onnx.save(next(one for one in CONVENTIONS if one.name == name).make(), folder / "zoo.onnx")
    return folder / "zoo.onnx"


def stamp(path: Path) -> dict[str, Any]:
    return stamp_of(load(path).metadata_props)


def segmented(tmp_path: Path, classes: list[int], points: list[list[float]]) -> tuple[Explainer, Any, Any]:
    own = Explainer(SEGMENTER)
    x = tensors(own, *(shapes(shift=8 * place) for place in range(len(classes))))
    feeds = {"image": x, "onnxcam.class": np.int64(classes), "onnxcam.point": np.float32(points)}
    made, found = baked(SEGMENTER, tmp_path, feeds, "input")
    assert stamp(made.path)["inputs"] == {"onnxcam.class": -1, "onnxcam.point": [-1, -1]}
    return own, x, found


def test_a_segmentation_takes_a_class_or_a_point_or_neither(tmp_path: Path) -> None:
    points = [[40.5, 33.2], [5.0, 60.9], NOWHERE, [5.0, 5.0]]
    own, x, found = segmented(tmp_path, [-1, -1, -1, 1], points)
    seen = found["logits"].argmax(axis=1)
    chosen = found["onnxcam.class.chosen"]
    assert [int(c) for c in chosen[:2]] == [int(seen[0, 33, 40]), int(seen[1, 60, 5])]
    assert chosen[3] == 1
    wanted = [f"#{chosen[0]}", f"#{chosen[1]}", "top", "#1"]
    assert_same(found["onnxcam.map"], own.attribute(x, wanted))


def test_a_class_that_is_nowhere_has_a_blank_map_and_points_are_cut_to_the_image(tmp_path: Path) -> None:
    _, x, found = segmented(tmp_path, [0, 99, -1], [NOWHERE, NOWHERE, [999.0, 999.0]])
    seen = found["logits"].argmax(axis=1)
    absent = set(range(7)) - set(np.unique(seen[0]).tolist())
    assert found["onnxcam.class.chosen"].tolist() == [0, 6, int(seen[2, 63, 63])]
    _, again = baked(SEGMENTER, tmp_path, {"image": x[:1]}, f"#{min(absent)}")
    assert not again["heatmap"].any()
    assert not again["onnxcam.map"].any()


def test_a_point_of_a_volume_has_three_numbers(tmp_path: Path) -> None:
    volumes = MODELS / "volumes.onnx"
    x = np.random.default_rng(0).uniform(0, 0.1, (1, 1, 32, 32, 32)).astype(np.float32)
    x[:, :, 8:20, 10:18, 12:26] = 1
    feeds = {"image": x, "onnxcam.class": np.int64([-1]), "onnxcam.point": np.float32([[20.5, 12.5, 10.5]])}
    _, found = baked(volumes, tmp_path, feeds, "input")
    chosen = int(found["onnxcam.class.chosen"][0])
    assert chosen == found["logits"][0].argmax(axis=0)[10, 12, 20] > 0
    np.testing.assert_allclose(found["onnxcam.class.shares"].sum(), 1, atol=1e-6)
    assert_same(found["onnxcam.map"], Explainer(volumes).attribute(x, f"#{chosen}"))


@pytest.mark.parametrize("name", ["u2net", "independent-classes"])
def test_a_point_without_a_class_has_a_blank_map(name: str, tmp_path: Path) -> None:
    path = zoo(name, tmp_path)
    own = Explainer(path)
    image = next(one for one in CONVENTIONS if one.name == name).image()
    x = tensors(own, image, image, image)
    points = np.float32([[48, 24], [2, 2], NOWHERE])
    feeds = {own.network.picture: x, "onnxcam.class": np.int64([-1] * 3), "onnxcam.point": points}
    _, found = baked(path, tmp_path, feeds, "input")
    chosen = found["onnxcam.class.chosen"]
    assert chosen[0] == chosen[2] >= 0
    assert chosen[1] == -1
    assert not found["heatmap"][1].any()
    assert_same(found["onnxcam.map"][2:], own.attribute(x[2:]))


def test_an_embedding_is_compared_with_a_reference(tmp_path: Path) -> None:
    own, reference = Explainer(EMBEDDER), ASSETS / "shapes_1.png"
    x = tensors(own, shapes(), shapes(shift=10))
    like = {"image": tensors(own, own.network.modality.read(reference))}
    _, alone = baked(EMBEDDER, tmp_path, like)
    unit = alone["onnxcam.embedding"]
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    feeds = {"image": x, "onnxcam.reference": 7 * np.concatenate([unit, unit])}  # of any length
    made, found = baked(EMBEDDER, tmp_path, feeds, "input")
    assert_same(found["onnxcam.map"], own.attribute(x, f"like={reference}"))
    np.testing.assert_allclose(found["onnxcam.cosine"], own.scores(x, f"like={reference}"), atol=1e-5)
    np.testing.assert_allclose(found["onnxcam.embedding"] @ unit[0], found["onnxcam.cosine"], atol=1e-5)
    assert set(stamp(made.path)["inputs"]) == {"onnxcam.reference"}


def test_without_a_reference_an_embedding_is_compared_with_that_of_zeros(tmp_path: Path) -> None:
    own = Explainer(EMBEDDER)
    x = tensors(own, shapes(), shapes(shift=10))
    width = own.network.task.aim.length(own.network.open().model.graph)  # type: ignore[union-attr]
    for target, given in (("top", {}), ("input", {"onnxcam.reference": np.zeros((2, width), np.float32)})):
        _, found = baked(EMBEDDER, tmp_path, {"image": x, **given}, target)
        assert_same(found["onnxcam.map"], own.attribute(x))


def test_a_reference_may_be_an_image_that_is_baked(tmp_path: Path) -> None:
    own, target = Explainer(EMBEDDER), f"like={ASSETS / 'shapes_1.png'}"
    x = tensors(own, shapes(), shapes(shift=10))
    _, found = baked(EMBEDDER, tmp_path, {"image": x}, target)
    assert_same(found["onnxcam.map"], own.attribute(x, target))


def test_a_reader_explains_its_text_or_one_character(tmp_path: Path) -> None:
    own = Explainer(READER)
    x = tensors(own, *(letters(text) for text in ("AB12", "X7Z", "HELL", "L00K")))
    made, found = baked(READER, tmp_path, {"image": x, "onnxcam.character": np.int64([0, 2, -1, 30])}, "input")
    names = stamp(made.path)["letters"]
    texts = ["".join(names[letter] for letter in row if letter >= 0) for row in found["onnxcam.text"]]
    assert len(texts[0]) > 0
    assert len(texts[1]) > 2
    for row, words in enumerate((f'text="{texts[0]}" at=0', f'text="{texts[1]}" at=2', "top")):
        assert_same(found["onnxcam.map"][row : row + 1], own.attribute(x[row : row + 1], words))
    assert not found["heatmap"][3].any()  # there is no character 30


def test_a_reader_has_a_map_for_each_character(tmp_path: Path) -> None:
    own = Explainer(READER)
    x = tensors(own, letters("AB12"), letters("X"))
    made, found = baked(READER, tmp_path, {"image": x}, "all", count=3)
    assert found["heatmap"].shape[:2] == found["onnxcam.map"].shape[:2] == (2, 3)
    names = stamp(made.path)["letters"]
    text = "".join(names[letter] for letter in found["onnxcam.text"][0] if letter >= 0)
    assert text  # older versions of OpenCV draw other letters, so it may be shorter than three
    for place in range(min(3, len(text))):
        assert_same(found["onnxcam.map"][:1, place], own.attribute(x[:1], f'text="{text}" at={place}'))
    count = int((found["onnxcam.text"][1] >= 0).sum())
    assert not found["heatmap"][1, count:].any()
    assert stamp(made.path)["maps"] == 3


@pytest.mark.parametrize("name", ["upscaler", "brightener"])
def test_a_patch_of_an_output_image_is_named_at_run_time(name: str, tmp_path: Path) -> None:
    model = MODELS / f"{name}.onnx"
    own = Explainer(model)
    x = tensors(own, shapes())
    size = own.network.look(x, None, {}).outputs[own.network.task.output.tensor].shape[-1]  # type: ignore[attr-defined]
    picture = own.network.picture
    for patch, words in (
        ([4, 6, 30, 28], "patch=4,6,30,28"),
        ([0, 0, 0, 0], "top"),
        ([size - 20, -9, size + 50, 20], f"patch={size - 20},0,{size},20"),  # cut to the output
        ([size + 1, 0, size + 9, 9], "top"),
    ):
        _, found = baked(model, tmp_path, {picture: x, "onnxcam.patch": np.float32([patch])}, "input")
        assert_same(found["onnxcam.map"], own.attribute(x, words))


def test_a_middle_without_edges_gives_way_to_the_whole_output(tmp_path: Path) -> None:
    path = zoo("style-transfer", tmp_path)
    own = Explainer(path)
    x = tensors(own, next(one for one in CONVENTIONS if one.name == "style-transfer").image())
    _, found = baked(path, tmp_path, {own.network.picture: x})
    assert_same(found["onnxcam.map"], own.attribute(x, "patch=0,0,64,64"))


@pytest.mark.parametrize("name", ["depth-anything", "monodepth2", "raft", "anomalib-1", "midas"])
def test_a_region_of_a_map_is_named_at_run_time(name: str, tmp_path: Path) -> None:
    path, convention = zoo(name, tmp_path), next(one for one in CONVENTIONS if one.name == name)
    (tmp_path / "metadata.json").write_text(convention.files.get("metadata.json", "{}"), "utf-8")
    own = Explainer(path, inputs=convention.inputs)
    feeds = dict(own.network.look(own.network.modality.tensor(convention.image()), None, {}).feeds)
    for region, words in (
        ([30, 10, 60, 40], "region=30,10,60,40"),
        ([41.2, 20.1, 41.4, 20.2], "region=41.2,20.1,41.4,20.2"),  # between the centres: the nearest cell
        ([0, 0, 0, 0], "top"),
        ([-20, -20, -1, -1], "top"),
    ):
        _, found = baked(path, tmp_path, {**feeds, "onnxcam.region": np.float32([region])}, "input")
        raw = own.attribute(feeds, words)
        np.testing.assert_allclose(found["onnxcam.map"], raw, atol=1e-5 * np.abs(raw).max() + 1e-12)


@pytest.mark.parametrize("name", ["maskformer", "mask2former-numbers"])
def test_a_class_of_queries_is_named_at_run_time(name: str, tmp_path: Path) -> None:
    path, convention = zoo(name, tmp_path), next(one for one in CONVENTIONS if one.name == name)
    own = Explainer(path)
    look = own.network.look(x := own.network.modality.tensor(convention.image()), None, {})
    goal, task = own.network.resolve("top", look), own.network.task
    shares = np.bincount(task.predicted(look).reshape(-1), minlength=task.classes)  # type: ignore[attr-defined]
    for index, point, words in ((-1, (-1, -1), "top"), (goal.index, (-1, -1), "top"), (-1, (48, 24), "class=2")):
        given = {"onnxcam.class": np.int64([index]), "onnxcam.point": np.float32([point])}
        _, found = baked(path, tmp_path, {own.network.picture: x, **given}, "input")
        assert_same(found["onnxcam.map"], own.attribute(x, words))
        np.testing.assert_allclose(found["onnxcam.class.shares"][0], shares / shares.sum(), atol=1e-6)
    _, fixed = baked(path, tmp_path, {own.network.picture: x}, goal.index)
    assert_same(fixed["onnxcam.map"], own.attribute(x, "top"))


@pytest.mark.parametrize("name", ["vitpose", "rtmpose-simcc", "movenet", "mediapipe-face-mesh"])
def test_a_keypoint_is_named_at_run_time_and_all_have_maps(name: str, tmp_path: Path) -> None:
    path, convention = zoo(name, tmp_path), next(one for one in CONVENTIONS if one.name == name)
    own = Explainer(path, inputs=convention.inputs)
    x = own.network.modality.tensor(convention.image())
    feeds = dict(own.network.look(x, None, {}).feeds)
    _, every = baked(path, tmp_path, feeds, "all", count=3)
    assert every["heatmap"].shape[1] == 3
    for index in (0, 2, -1):
        _, found = baked(path, tmp_path, {**feeds, "onnxcam.keypoint": np.int64([index])}, "input")
        raw = flat(own, own.attribute(feeds, "top" if index < 0 else _keypoint(own, index)))
        np.testing.assert_allclose(found["onnxcam.map"], raw, atol=1e-5 * np.abs(raw).max() + 1e-12)
        if index >= 0:
            np.testing.assert_allclose(every["onnxcam.map"][:, index], found["onnxcam.map"], atol=1e-6)


def test_a_lane_is_named_at_run_time_and_all_have_maps(tmp_path: Path) -> None:
    path, convention = zoo("ultra-fast-lane", tmp_path), next(c for c in CONVENTIONS if c.name == "ultra-fast-lane")
    own = Explainer(path)
    x = own.network.modality.tensor(convention.image())
    count = own.network.task.lanes  # type: ignore[attr-defined]
    _, every = baked(path, tmp_path, {own.network.picture: x}, "all")
    assert every["heatmap"].shape[1] == count
    for index in (0, count - 1, -1):
        given = {own.network.picture: x, "onnxcam.lane": np.int64([index])}
        _, found = baked(path, tmp_path, given, "input")
        assert_same(found["onnxcam.map"], own.attribute(x, "top" if index < 0 else str(index)))
        if index >= 0:
            np.testing.assert_allclose(every["onnxcam.map"][:, index], found["onnxcam.map"], atol=1e-6)
    _, fixed = baked(path, tmp_path, {own.network.picture: x}, 1)
    assert_same(fixed["onnxcam.map"], own.attribute(x, "1"))
    with pytest.raises(TargetError, match=r"cannot be baked; give top, input, all or the number of a lane"):
        baked(path, tmp_path, {}, "box=1,2,3,4")


def _keypoint(own: Explainer, index: int) -> str:
    labels = own.network.class_names
    return f"keypoint={json.dumps(labels[index]) if labels else index}"


@pytest.mark.parametrize("name", ["6d-rep-net", "age"])
def test_a_number_is_named_at_run_time_and_all_have_maps(name: str, tmp_path: Path) -> None:
    path, convention = zoo(name, tmp_path), next(one for one in CONVENTIONS if one.name == name)
    own = Explainer(path)
    x = own.network.modality.tensor(convention.image())
    feeds, task = {own.network.picture: x}, own.network.task
    _, every = baked(path, tmp_path, feeds, "all")
    count = task.count  # type: ignore[attr-defined]
    assert every["heatmap"].shape[1] == count
    y = own.network.look(x, None, {}).outputs[task.output]  # type: ignore[attr-defined]
    for index in range(min(count, 3)):
        _, found = baked(path, tmp_path, {**feeds, "onnxcam.number": np.int64([index])}, "input")
        place = ", ".join(map(str, np.unravel_index(index, y.shape)))
        raw = own.attribute(x, f"{task.output}[{place}]")  # type: ignore[attr-defined]
        np.testing.assert_allclose(found["onnxcam.map"], raw, atol=1e-5 * np.abs(raw).max() + 1e-12)
        np.testing.assert_allclose(every["onnxcam.map"][:, index], raw, atol=1e-5 * np.abs(raw).max() + 1e-12)


def test_an_element_of_a_tensor_is_baked_for_any_task(tmp_path: Path) -> None:
    own = Explainer(SEGMENTER)
    x = tensors(own, shapes(), shapes(shift=8))
    for target in ("logits[0, 3, 20, 20]", "logits[0, 1, 10:20, :].mean()"):
        _, found = baked(SEGMENTER, tmp_path, {"image": x}, target)
        assert_same(found["onnxcam.map"], own.attribute(x, target))
        np.testing.assert_allclose(found["onnxcam.score"], own.scores(x, target), rtol=1e-5)
