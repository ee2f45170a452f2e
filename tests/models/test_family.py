"""The networks of the family are small, good at their tasks, and their samples tell where the evidence lies."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnxruntime
import pytest

from onnxcam.explainer.explainer import Explainer
from onnxcam.graph.io import load
from onnxcam.media.image import read
from onnxcam.metadata.card import Card
from onnxcam.preprocess import TensorSpec, resolve
from onnxcam.structure.layout import picture_input
from onnxcam.structure.names import module_outputs

pytest.importorskip("torch", reason="PyTorch is not installed")
from models import letters, world3d
from models.family import FOLDER, HELD_OUT, Sample, Task, real
from models.pictures import Pictures
from models.tasks import FAMILY, task
from models.tasks.answerer import NUMBERS
from models.tasks.captioner import END, START
from models.tasks.keypoints import RADIUS, Ends
from models.train import main, runner
from models.world import PALETTE, Object

COUNT = 32


@pytest.fixture(params=FAMILY)
def each(request: pytest.FixtureRequest) -> Task[Any]:
    return task(request.param)


def session(each: Task[Any]) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(each.path, providers=["CPUExecutionProvider"])


def test_every_file_is_of_a_task() -> None:
    paths = {path for name in FAMILY for path in (task(name).path, *task(name).companions)}
    assert set(FOLDER.glob("*.onnx")) == {path for path in paths if path.parent == FOLDER and path.suffix == ".onnx"}
    assert all(path.is_file() for path in paths)


def test_what_is_trained_elsewhere_is_not_trained_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["train", "classifier"])
    with pytest.raises(SystemExit):
        main()
    assert "'classifier' is not trained here; it is made by python models/train_shapes.py" in capsys.readouterr().err


def test_it_is_good_on_scenes_that_it_never_saw(each: Task[Any]) -> None:
    merit, *_ = each.figures(runner(each), each.rows(HELD_OUT, COUNT)).values()
    assert merit > each.floor


def test_the_file_is_small_and_tells_nothing_of_where_it_was_made(each: Task[Any]) -> None:
    for path in (each.path, *each.companions):
        content = path.read_bytes()
        assert len(content) <= each.size
        assert not re.search(rb"stack_trace|site-packages|\.py\b|/home/|/tmp/", content)


def test_the_card_and_the_shapes_agree(each: Task[Any]) -> None:
    runtime = session(each)
    card = Card.of(runtime.get_modelmeta().custom_metadata_map)
    assert card.task == each.card.task
    assert list(card.labels) == list(each.card.labels)
    assert card.vocabulary == {name: list(words) for name, words in each.card.vocabulary.items()}
    assert card.layers or module_outputs(load(each.path).graph)  # or, in the instrument, what the exporter noted
    assert [x.name for x in runtime.get_inputs()] == list(each.inputs)
    assert [y.name for y in runtime.get_outputs()] == list(each.outputs)
    assert all(x.shape[0] == "batch" for x in runtime.get_inputs())
    output = runtime.get_outputs()[0].shape
    axis = -1 if card.task in ("text", "caption") else 1
    classes = output[axis] - 4 if card.task == "detection" else output[axis]
    assert len(card.labels) == (0 if card.task in ("embedding", "image") else classes)
    assert all(words[0] == "" for words in card.vocabulary.values())


@pytest.mark.parametrize("name", [name for name in FAMILY if task(name).card.preprocess])
def test_a_users_picture_becomes_what_it_was_trained_on(name: str) -> None:
    each = task(name)
    numbers = (np.random.default_rng([HELD_OUT, k]) for k in range(20))
    scene, sample = next((s, x) for rng in numbers if (x := each.sample(s := each.scene(rng), rng)))
    expected = real({name: x[None] for name, x in each.row(scene).items()}, ["image"])["image"]
    if each.card.rate is not None:  # of signals
        made = Explainer(each.path).prepare(sample.feeds["image"]).tensor
        np.testing.assert_allclose(made, expected, atol=1e-6)
        return
    preprocess = resolve(each.card.preprocess, TensorSpec.of(picture_input(load(each.path).graph))).preprocess
    np.testing.assert_allclose(preprocess(read(sample.feeds["image"])), expected, atol=1e-6)


def test_samples_are_the_same_each_time(each: Task[Any]) -> None:
    for one, other in zip(each.samples(HELD_OUT, 4), each.samples(HELD_OUT, 4), strict=True):
        assert (one.target, one.feeds.keys(), one.attached.keys()) == (
            other.target,
            other.feeds.keys(),
            other.attached.keys(),
        )
        for name in one.feeds:
            np.testing.assert_array_equal(one.feeds[name], other.feeds[name])
        np.testing.assert_array_equal(one.truth, other.truth)


def test_the_evidence_lies_on_objects_and_is_not_everywhere(each: Task[Any]) -> None:
    samples = list(each.samples(HELD_OUT, COUNT))
    assert len({sample.target for sample in samples}) > 3 or each.card.task == "embedding"
    for sample in samples:
        extent = sample.feeds["image"].shape[: sample.truth.ndim]
        assert sample.truth.shape == sample.objects.shape == extent
        assert sample.truth.dtype == sample.objects.dtype == bool
        on_objects = (sample.truth & sample.objects).sum()
        assert on_objects > 0 if isinstance(each, Pictures | Ends) else on_objects == sample.truth.sum() > 0
        assert sample.truth.mean() < 0.5
        assert set(re.findall(r"{(\w+)}", sample.target)) == set(sample.attached)


def named(name: str, pattern: str, count: int = 200) -> list[tuple[Sample, re.Match[str]]]:
    pairs = [(sample, re.fullmatch(pattern, sample.target)) for sample in task(name).samples(HELD_OUT, count)]
    return [(sample, found) for sample, found in pairs if found]


def box_of(mask: np.ndarray) -> tuple[int, ...]:
    y, x = np.nonzero(mask)
    return x.min(), y.min(), x.max() + 1, y.max() + 1


def test_a_box_is_around_its_object() -> None:
    for sample, found in named("detector", r"box=(\d+),(\d+),(\d+),(\d+) class=\w+", 20):
        assert box_of(sample.truth) == tuple(map(int, found.groups()))


def test_a_keypoint_is_the_end_of_its_shape() -> None:
    for name, pattern in (("keypoints", r"keypoint=(\w+)"), ("landmarks", r"keypoint=(\w+) axis=[xy]")):
        for sample, found in named(name, pattern, 20):
            x1, y1, x2, y2 = box_of(sample.objects)
            end = {"top": (None, y1), "right": (x2, None), "bottom": (None, y2), "left": (x1, None)}[found[1]]
            ys, xs = np.nonzero(sample.truth)
            for middle, at in zip((xs.mean(), ys.mean()), end, strict=True):
                assert at is None or abs(middle - at) < RADIUS


def test_a_class_is_all_of_it_and_a_mask_one_object() -> None:
    for name in ("segmenter", "volumes"):
        for sample, _ in named(name, r"class=\w+ mask={mask}", 20):
            np.testing.assert_array_equal(sample.attached["mask"] > 0, sample.truth)
        assert named(name, r"class=\w+", 20)


def test_letters_are_where_their_boxes_are() -> None:
    for k in range(40):
        line = letters.sample(np.random.default_rng(k))
        assert len(line.boxes) == len(line.text)
        left = [box[0] for box in line.boxes]
        assert left == sorted(left)
        assert all(0 <= x1 < x2 <= letters.WIDTH and 0 <= y1 < y2 <= letters.HEIGHT for x1, y1, x2, y2 in line.boxes)
    for sample, found in named("reader", r'text="(\w+)" at=(\d)', 40):
        assert int(found[2]) < len(found[1])
        assert sample.truth.sum() < sample.objects.sum()


def middle(thing: Object) -> np.ndarray:
    x1, y1, x2, y2 = thing.box
    return np.array([x1 + x2, y1 + y2]) / 2


def test_what_captions_say_is_true() -> None:
    ways = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}
    for k in range(60):
        said = task("captioner").scene(np.random.default_rng(k)).words
        (one,), (other,) = said[0][1], said[-1][1]
        for at, thing in ((0, one), (-2, other)):
            assert [word for word, _ in said[at:][:2]] == [thing.colour, thing.label]
        if len(said) > 2:
            apart = middle(one) - middle(other)
            assert apart @ ways[said[2][0]] == np.abs(apart).max()


def test_a_words_truth_is_what_it_speaks_of() -> None:
    for sample, found in named("captioner", r'word=(\w+) after="(?:\w+ \w+ (?:left of|right of|above|below))?"'):
        np.testing.assert_allclose(np.median(sample.feeds["image"][sample.truth], 0), PALETTE[found[1]], atol=60)
    for sample, _ in named("captioner", r'word=(?:left|right|above|below) after="\w+ \w+"'):
        np.testing.assert_array_equal(sample.truth, sample.objects)
    assert task("captioner").card.vocabulary["words"][:3] == ("", START, END)


def test_answers_are_true() -> None:
    for k in range(100):
        scene, questions = task("answerer").scene(np.random.default_rng(k))
        for question in questions:
            word = question.words.split()[-1]
            things = [thing for thing in scene.objects if word in (thing.label, f"{thing.label}s", f"{thing.label}es")]
            expected = {"what": [thing.colour for thing in things], "how": [NUMBERS[len(things)]]}
            right = expected.get(question.words.split()[0], ["yes" if things else "no"])
            assert [question.answer] == right
            assert question.truth.sum() == sum(thing.mask.sum() for thing in things)


def test_solids_share_no_voxel_and_are_brighter() -> None:
    for k in range(20):
        volume = world3d.sample(np.random.default_rng(k))
        masks = np.stack([thing.mask for thing in volume.objects])
        assert masks.sum(0).max() == 1
        assert volume.image[masks.any(0)].mean() > volume.image[~masks.any(0)].mean() + 0.2
