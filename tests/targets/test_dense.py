"""Segmentations and models from image to image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from onnxcam.errors import TargetError
from onnxcam.media import image
from onnxcam.targets.image_to_image import ImageToImage
from onnxcam.targets.segmentation import Segmentation
from tests.targets.opened import Opened

Array = NDArray[Any]
NAMES = ["background", "cat", "potted plant"]
RNG = np.random.default_rng(0)


def grid(output: str, last: str, x: str = "float[n, 3, 4, 6] x") -> onnx.ModelProto:
    """A network of the operators *last*, from x to y."""
    return onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    dense ({x}) => ({output} y)

    {{
        {last}
    }}
    """)


def segmentation(classes: int = 3, nhwc: bool = False) -> onnx.ModelProto:
    """Four classes or so: the channels and their negatives."""
    head = "m = Neg(x) c = Concat<axis = 1>(x, m)"
    if classes == 1:
        head = "c = ReduceMean<axes = [1], keepdims = 1>(x)"
    if nhwc:
        return grid(f"float[n, 4, 6, {classes}]", head + " y = Transpose<perm = [0, 2, 3, 1]>(c)")
    return grid(f"float[n, {classes}, 4, 6]", head + " y = Identity(c)")


def picture_of(top: Array) -> Array:
    """x [1, 3, 4, 6] where class *top* [4, 6] is best."""
    x = np.full((1, 3, 4, 6), 0.1, np.float32)
    for index in range(3):
        x[0, index][top == index] = 1 + index
    return x


TOP = np.array([[0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 2, 0], [0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]])


@pytest.mark.parametrize("nhwc", [False, True])
def test_the_mean_over_the_region(nhwc: bool) -> None:
    opened, x = Opened(segmentation(6, nhwc)), picture_of(TOP)
    assert isinstance(opened.network.task, Segmentation)
    for words in ("class=1", 1, "1", None):
        goal = opened.goal(words, x)
        assert goal.index == 1
        weights = np.moveaxis(goal.feed, -1, 0) if nhwc else goal.feed
        np.testing.assert_allclose(weights[1], (TOP == 1) / 5)
        assert not np.delete(weights, 1, axis=0).any()
        assert (goal.note == "the class that covers most of the image beside the background, 1") == (words is None)
    found = opened.gradient(goal, x)
    np.testing.assert_allclose(found[0, 1], (TOP == 1) / 5, rtol=1e-6)
    assert not found[0, [0, 2]].any()


def test_a_mask_names_the_region(tmp_path: Path) -> None:
    """A mask of the image's size, twice that of the tensor."""
    opened = Opened(segmentation(6), preprocess="unit")
    picture = np.zeros((8, 12, 3), np.uint8)
    mask = np.zeros((8, 12, 3), np.uint8)
    mask[2:4, 2:8] = 255
    image.write(tmp_path / "my mask.png", mask)
    x = picture_of(TOP)
    goal = opened.goal(f'mask="{tmp_path}/my mask.png"', x, picture)
    assert goal.index == 1  # what covers most of it
    expected = np.zeros((4, 6))
    expected[1, 1:4] = 1 / 3
    np.testing.assert_allclose(goal.feed[1], expected)
    again = opened.goal(goal.words, x, picture)
    np.testing.assert_array_equal(again.feed, goal.feed)
    other = opened.goal(f'class=2 mask="{tmp_path}/my mask.png"', x, picture)
    np.testing.assert_allclose(other.feed[2], expected)


def test_one_channel_is_where_it_is_likely() -> None:
    opened, x = Opened(segmentation(1)), picture_of(TOP) - 0.5
    assert isinstance(opened.network.task, Segmentation)
    goal = opened.goal(None, x)
    seen = x.mean(axis=1)[0] > 0
    np.testing.assert_allclose(goal.feed[0], seen / seen.sum())


def test_volumes() -> None:
    model = grid("float[n, 2, 3, 4, 5]", "m = Neg(x) y = Concat<axis = 1>(x, m)", "float[n, 1, 3, 4, 5] x")
    opened, x = Opened(model), RNG.standard_normal((1, 1, 3, 4, 5)).astype(np.float32)
    goal = opened.goal("class=1", x)
    np.testing.assert_allclose(goal.feed[1], (x[0, 0] < 0) / (x < 0).sum())
    np.testing.assert_allclose(opened.gradient(goal, x)[0, 0], -goal.feed[1])


def test_names_and_the_ground() -> None:
    model = grid("float[n, 3, 4, 6]", "y = Neg(x)")
    model.metadata_props.add(key="onnxcam", value='{"schema": 1, "task": "segmentation"}')
    opened, x = Opened(model, labels=NAMES), -picture_of(TOP)
    assert opened.goal(None, x).label == "cat"  # the background covers more
    assert opened.goal("potted plant", x).words == 'class="potted plant"'
    assert opened.goal('class="potted plant"', x).index == 2


ERRORS = [
    ("class=5", "class '5' is nowhere in this image; the model sees 0, 1, 2"),
    ("class=9", "class 9 is out of range: the model has 6 classes, 0 to 5"),
    ("class=cat", "target 'cat' is a label, but the model's labels are not known"),
    ("mask=small.png", "the mask small.png has the size 6 × 4, the image 12 × 8; give one of the same size"),
    ("mask=empty.png", "the mask empty.png is empty: all of it is zero"),
    ("patch=1,1,2,2", "target 'patch=1,1,2,2' does not apply to a segmentation; what does: as a segmentation class=1"),
]


@pytest.mark.parametrize(("words", "message"), ERRORS, ids=[words for words, _ in ERRORS])
def test_errors(words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    image.write("small.png", np.full((4, 6, 3), 255, np.uint8))
    image.write("empty.png", np.zeros((8, 12, 3), np.uint8))
    opened = Opened(segmentation(6), preprocess="unit")
    with pytest.raises(TargetError, match=message):
        opened.goal(words, picture_of(TOP), np.zeros((8, 12, 3), np.uint8))


DECISIONS = {
    "[N, H, W]": ("int64[n, 4, 6]", "i = ArgMax<axis = 1, keepdims = 0>(c) y = Identity(i)"),
    "[N, 1, H, W]": ("int32[n, 1, 4, 6]", "s = Softmax<axis = 1>(c) i = ArgMax<axis = 1>(s) y = Cast<to = 6>(i)"),
    "[H, W]": ("int64[4, 6]", "i = ArgMax<axis = 1, keepdims = 0>(c) y = Squeeze(i, zero)"),
    "NHWC": ("int64[n, 4, 6]", "t = Transpose<perm = [0, 2, 3, 1]>(c) y = ArgMax<axis = 3, keepdims = 0>(t)"),
    "TopK": ("int64[n, 1, 4, 6]", "v, y = TopK<axis = 1>(c, one)"),
}


@pytest.mark.parametrize(("output", "last"), DECISIONS.values(), ids=DECISIONS)
def test_the_scores_behind_a_decision(output: str, last: str) -> None:
    model = grid(output, "m = Neg(x) c = Concat<axis = 1>(x, m) " + last)
    for name, value in {"zero": 0, "one": 1}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([value]), name))
    opened, x = Opened(model), picture_of(TOP)
    task = opened.network.task
    assert isinstance(task, Segmentation)
    assert task.classes == 6
    assert "what decides the output y" in [part.why for part in task.parts()]
    goal = opened.goal(None, x)
    assert goal.index == 1
    np.testing.assert_allclose(opened.gradient(goal, x)[0, 1], (TOP == 1) / 5, rtol=1e-6)


@pytest.mark.parametrize("last", ["b = Greater(p, half) y = Cast<to = 2>(b)", "r = Round(p) y = Cast<to = 2>(r)"])
def test_the_score_behind_a_threshold(last: str) -> None:
    head = "g = ReduceMean<axes = [1], keepdims = 1>(x) s = Sub(g, half) p = Sigmoid(s) "
    model = grid("uint8[n, 1, 4, 6]", head + last)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.5), "half"))
    opened, x = Opened(model), picture_of(TOP)
    assert isinstance(opened.network.task, Segmentation)
    seen = x.mean(axis=1)[0] > 0.5
    np.testing.assert_allclose(opened.goal(None, x).feed[0], seen / seen.sum())


@pytest.mark.parametrize("last", ["y = Softmax<axis = 1>(n)", "e = Exp(n) s = ReduceSum(e, one) y = Div(e, s)"])
def test_as_many_classes_as_channels(last: str) -> None:
    """Probabilities are no image; they are known by the graph or by a run."""
    model = grid("float[n, 3, 4, 6]", "n = Neg(x) " + last)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "one"))
    assert isinstance(Opened(model).network.task, Segmentation)


def test_scores_behind_a_decision_come_before_their_maximum() -> None:
    last = "s = Softmax<axis = 1>(x) z = ReduceMax<axes = [1], keepdims = 0>(s) y = ArgMax<axis = 1, keepdims = 0>(s)"
    task = Opened(grid("float[n, 4, 6] z, int64[n, 4, 6]", last)).network.task
    assert isinstance(task, Segmentation)
    assert (task.classes, task.source) == (3, "graph")


def test_the_user_names_the_scores() -> None:
    last = "m = Neg(x) z = Concat<axis = 1>(x, m) y = Slice(z, zero, two, one)"
    model = grid("float[n, 6, 4, 6] z, float[n, 2, 4, 6]", last)
    for name, value in {"zero": 0, "two": 2, "one": 1}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([value]), name))
    task = Opened(model, said={"scores": "y"}).network.task
    assert isinstance(task, Segmentation)
    assert (task.classes, task.source) == (2, "user")


def test_a_plane_of_probabilities() -> None:
    model = grid("float[n, 4, 6]", "g = ReduceMean<axes = [1], keepdims = 0>(x) y = Sigmoid(g)")
    opened, x = Opened(model), picture_of(TOP)
    assert isinstance(opened.network.task, Segmentation)
    assert opened.goal("class=0", x).feed.shape == (4, 6)


def test_a_coarse_grid_is_no_image() -> None:
    pool = "y = AveragePool<kernel_shape = [32, 32], strides = [32, 32]>(x)"
    model = grid("float[n, 3, 2, 2]", pool, "float[n, 3, 64, 64] x")
    assert [task.name for task in Opened(model).network.tasks] == ["a model"]


def test_one_channel_that_is_nowhere() -> None:
    with pytest.raises(TargetError, match="class '0' is nowhere in this image; the model sees none"):
        Opened(segmentation(1)).goal("class=0", -picture_of(TOP))


def detector(patch: Array) -> float:
    """LAM's D of a patch [C, h, w] (2011.11036): Σ |∇y|, one difference at a time."""
    total = 0.0
    for channel in patch:
        for i in range(channel.shape[0]):
            for j in range(channel.shape[1]):
                if i + 1 < channel.shape[0]:
                    total += abs(channel[i + 1, j] - channel[i, j])
                if j + 1 < channel.shape[1]:
                    total += abs(channel[i, j + 1] - channel[i, j])
    return total


def test_the_edges_of_a_patch() -> None:
    """Doubled in size: w is ∂D/∂y, held against differences of D itself, and Σ w · y is D."""
    last = 'y = Resize<mode = "nearest">(x, , sizes)'
    model = grid("float[n, 3, 8, 12]", last)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "sizes"))
    opened, x = Opened(model), RNG.standard_normal((1, 3, 4, 6)).astype(np.float32)
    assert isinstance(opened.network.task, ImageToImage)
    y = opened.outputs(x)["y"][0].astype(np.float64)
    y += 1e-3 * RNG.standard_normal(y.shape)  # no two neighbours are equal
    look = opened.look(x)
    look.known = {"y": y[None]}
    goal = opened.network.resolve("patch=2,1,9,7", look)
    assert goal.words == "patch=2,1,9,7"
    assert goal.box == (1, 0.5, 4.5, 3.5)
    whole = detector(y[:, 1:7, 2:9])
    assert float((goal.feed * y).sum()) == pytest.approx(whole, rel=1e-5)
    slow = np.zeros_like(y)
    for place in np.ndindex(*y.shape):
        moved = y.copy()
        moved[place] += 1e-7
        slow[place] = (detector(moved[:, 1:7, 2:9]) - whole) / 1e-7
    np.testing.assert_allclose(goal.feed, slow, atol=1e-3)


def test_the_middle_is_taken_where_nothing_is_said() -> None:
    opened = Opened(grid("float[n, 3, 4, 6]", "y = Neg(x)"))
    x = RNG.standard_normal((1, 3, 4, 6)).astype(np.float32)
    goal = opened.goal(None, x)
    assert goal.words == "patch=2,1,3,2"
    assert goal.note == "the middle of what the model puts out, patch=2,1,3,2"
    with pytest.raises(TargetError, match="the patch 0,0,7,4 does not lie in what the model puts out, 6 × 4 pixels"):
        opened.goal("patch=0,0,7,4", x)


def test_the_part_with_most_edges_is_taken_where_the_middle_is_flat() -> None:
    opened = Opened(grid("float[n, 3, 16, 16]", "y = Neg(x)", "float[n, 3, 16, 16] x"))
    x = np.zeros((1, 3, 16, 16), np.float32)
    x[..., 2, 13] = 1
    goal = opened.goal(None, x)
    assert goal.note == f"the part of what the model puts out with most edges, {goal.words}"
    assert goal.feed[:, 2, 13].all()


def test_scores_are_explained_before_they_are_clipped() -> None:
    model = grid("float[n, 1, 4, 6]", "m = ReduceMean<axes = [1], keepdims = 1>(x) y = Clip(m, low, high)")
    for name, value in (("low", 0), ("high", 1)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(value), name))
    opened, x = Opened(model), np.full((1, 3, 4, 6), 3, np.float32)
    assert isinstance(opened.network.task, Segmentation)
    np.testing.assert_allclose(opened.gradient(opened.goal(None, x), x), 1 / 72, rtol=1e-5)


def test_a_class_that_is_nowhere_has_its_highest_score() -> None:
    opened = Opened(grid("float[n, 1, 4, 6]", "m = ReduceMean<axes = [1], keepdims = 1>(x) y = Neg(m)"))
    x = RNG.uniform(1, 2, (1, 3, 4, 6)).astype(np.float32)
    goal = opened.goal(None, x)
    assert goal.note.startswith("no cell is of class 0; the map explains the highest score, -")
    assert int(goal.feed.argmax()) == int(x.mean(axis=1).argmin())
    with pytest.raises(TargetError, match="class '0' is nowhere in this image"):
        opened.goal("class=0", x)
