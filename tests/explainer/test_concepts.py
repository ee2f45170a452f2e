"""All concepts of an image in one factorisation: maps, shares and classes by hand, files, and what is refused."""

from __future__ import annotations

import json
import math
import pickle
import re
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.errors import MethodError
from onnxcam.media.image import read, write
from onnxcam.methods import concepts as factors
from tests.cli.test_cli import Run
from tests.docs_pages import follow
from tests.optional import libraries_of

ROOT = Path(__file__).parents[2]
COLOURS = np.array([[[255, 0, 0], [0, 102, 0]], [[153, 0, 0], [0, 255, 0]]], np.uint8)
"""Red is A_1 = [[1, 0], [0.6, 0]], green A_2 = [[0, 0.4], [0, 1]]."""
GREEN = np.array([[[0, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 102, 0]]], np.uint8)
"""A_2 = [[0, 0], [0, 0.4]]."""


@pytest.fixture(autouse=True)
def _sklearn() -> None:
    libraries_of("dff")


def channels(head: str = "logits = Gemm<transB = 1>(f, v)", logits: str = "float[n, 2] logits") -> onnx.ModelProto:
    """The channels red and green, their means p, and the logits (2 p_1 − p_2, 3 p_2)."""
    return onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    channels (float[n, 3, 2, 2] x) => ({logits})
    <float[2, 3, 1, 1] w = {{1, 0, 0, 0, 1, 0}}, float[2, 2] v = {{2, -1, 0, 3}}>
    {{ c = Conv(x, w) a = Relu(c) p = GlobalAveragePool(a) f = Flatten(p) {head} }}
    """)


def explainer(**options: object) -> Explainer:
    return Explainer(channels(), **{"preprocess": "unit", "labels": ["ruby", "leaf"], **options})


def test_by_hand() -> None:
    """Each channel is a concept. All of the activation, 3, in channel 1: p = (¾, 0), in channel 2: (0, ¾)."""
    found = explainer(method="dff").concepts(COLOURS, 2)
    np.testing.assert_allclose(found.raw, [[[1, 0], [0.6, 0]], [[0, 0.4], [0, 1]]], atol=1e-5)
    np.testing.assert_allclose(found.maps, found.raw, atol=1e-6)  # of the image's size, 2 × 2
    np.testing.assert_allclose(found.shares, [1.6 / 3, 1.4 / 3], rtol=1e-5)
    assert found.classes == ["ruby", "leaf"]
    chances = [one.probability for one in found.concepts]
    np.testing.assert_allclose(chances, [1 / (1 + math.exp(-1.5)), 1 / (1 + math.exp(-3))], rtol=1e-5)
    assert (found.explanation.label, found.explanation.layer, found.images, found.warnings) == ("leaf", "a", 1, ())
    red, green = (np.array(one.colour) for one in found.concepts)
    drawn = found.overlay(0.5)
    np.testing.assert_allclose(drawn[0, 0], (red + COLOURS[0, 0]) / 2, atol=1)
    np.testing.assert_allclose(drawn[0, 1], (0.4 * green + COLOURS[0, 1]) / 2, atol=1)
    assert found.overlay(legend=True).shape[1] > 450
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(found)).maps, found.maps)


def test_images_share_concepts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Green has 1.8 of 3.4 in both images, and comes first; its class is that of the image with most of it."""
    calls = []
    monkeypatch.setattr(factors, "_factors", lambda *args, made=factors._factors: calls.append(1) or made(*args))
    one, other = explainer().concepts([COLOURS, GREEN], 2, together=True)
    assert calls == [1]
    assert one.concepts == other.concepts
    assert (one.classes, one.images) == (["leaf", "ruby"], 2)
    np.testing.assert_allclose([each.share for each in one.concepts], [1.8 / 3.4, 1.6 / 3.4], rtol=1e-4)
    np.testing.assert_allclose([one.shares, other.shares], [[1.4 / 3, 1.6 / 3], [1, 0]], atol=1e-4)
    np.testing.assert_allclose(other.raw, [[[0, 0], [0, 0.4]], np.zeros((2, 2))], atol=1e-4)
    assert one.concepts[0].probability == pytest.approx(1 / (1 + math.exp(-3)), rel=1e-4)
    apart = explainer(settings={"concepts": 1}, method="dff").concepts([COLOURS, GREEN])
    assert [each.images for each in apart] == [1, 1]
    assert len(calls) == 3


def test_ranks_are_the_same_maps() -> None:
    found = explainer().concepts(COLOURS, 2)
    alone = [explainer(method="dff", settings={"concepts": 2, "rank": k})(COLOURS, 0).raw for k in (1, 2)]
    np.testing.assert_array_equal(found.raw, alone)  # the first speaks most for class 0


def test_nothing_to_see() -> None:
    found = explainer().concepts(0 * COLOURS, 2)
    assert found.shares == (0, 0)
    assert not found.raw.any()
    assert re.match(r"the map is blank: nothing stands out at layer 'a'", found.warnings[0])


def test_fewer_things_than_concepts() -> None:
    """All of the image is one colour, or none: the second concept is nowhere, and has no share."""
    found = explainer().concepts(GREEN, 2)
    np.testing.assert_allclose(found.raw, [[[0, 0], [0, 1]], np.zeros((2, 2))], atol=1e-6)
    assert found.shares == (1, 0)


def test_a_model_without_classes() -> None:
    model = channels("y = Mul(a, two)", "float[n, 2, 2, 2] y")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(2, np.float32), "two"))
    found = Explainer(model, preprocess="unit", task="segmentation", layer="a").concepts(COLOURS, 2, target=0)
    assert found.classes == ["", ""]
    assert found.warnings[-1] == f"the concepts have no class: the model is {_task(model)}, no classifier"


def _task(model: onnx.ModelProto) -> str:
    return Explainer(model, preprocess="unit", task="segmentation").network.task.name


@pytest.mark.parametrize(
    ("name", "shape", "space"), [("signals", (1024,), (1024,)), ("volumes", (32, 32, 32), (32, 32, 32))]
)
def test_signals_and_volumes(name: str, shape: tuple[int, ...], space: tuple[int, ...]) -> None:
    """One concept is drawn below the other, each as it alone is drawn."""
    values = np.random.default_rng(0).random(shape, np.float32)
    found = Explainer(ROOT / "models" / f"{name}.onnx").concepts(values, 3)
    assert found.maps.shape == (3, *space)
    alone = found.alone(2)
    np.testing.assert_array_equal(alone.raw, found.raw[1])
    one, (height, width, _) = alone.overlay(), found.overlay().shape
    assert width >= one.shape[1]
    assert height > 3 * one.shape[0]


@pytest.mark.parametrize(
    ("image", "number", "says"),
    [
        (COLOURS, 0, "the setting concepts of dff is a whole number from 1"),
        (COLOURS, 3, "dff finds at most 2 concepts in a layer of 4 positions and 2 channels, not 3"),
        (
            "clip.mp4",
            2,
            "all concepts at once are those of an image in one piece, not of windows or of the",
        ),
    ],
)
def test_refused(image: object, number: int, says: str) -> None:
    with pytest.raises(MethodError, match=re.escape(says)):
        explainer().concepts(image, number)  # type: ignore[call-overload]


def test_together_and_rank_exclude_each_other() -> None:
    with pytest.raises(MethodError, match=r"^the setting together of dff is for all concepts of several images"):
        explainer(method="dff", settings={"concepts": 2, "together": "yes"})(COLOURS)


def test_command(onnxcam: Run) -> None:
    """A row, a picture and the raw maps of each image; an image that cannot be read is left out."""
    onnx.save(channels(), "net.onnx")
    write("one.png", COLOURS)
    write("two.png", GREEN)
    Path("broken.png").write_bytes(b"no picture")
    words = ("explain", "net.onnx", "one.png", "broken.png", "two.png", *"-p unit -m dff --set concepts=2".split())
    ran = onnxcam(*words, "--set", "together=yes", "--target", "1", "--target", "0", "-o", "out")
    assert ran.code == 0, ran.err
    rows = [line.split("\t") for line in ran.out.splitlines()[1:]]
    assert [row[:4] for row in rows] == [
        ["one.png", "1", "red", "1"],
        ["one.png", "2", "green", "0"],
        ["two.png", "1", "red", "1"],
        ["two.png", "2", "green", "0"],
    ]
    assert rows[2][4:] == ["95.3%", "100.0%", str(Path("out/two-concepts-dff-concepts-2-together-yes-overlay.jpg"))]
    one, broken, two = json.loads(Path("out/manifest.json").read_text("utf-8"))
    assert set(broken) == {"image", "error"}
    assert [len(each["warnings"]) for each in (one, two)] == [1, 1]
    assert ran.err.count("dff is independent of the class: its map hardly depends on the target; gradcam shows") == 1
    assert [each["share"] for each in two["concepts"]] == pytest.approx([1, 0], abs=1e-4)
    assert np.load(one["raw"]).shape == np.load(two["raw"]).shape == (2, 2, 2)
    assert read(one["overlay"]).shape[1] > 450
    assert not Path("out/journal.jsonl").exists()
    ran = onnxcam(*words, "--boxes")
    assert ran.code == 2
    assert (
        "--boxes has no effect where dff draws all concepts; leave it out, or choose one concept, --set rank=1"
        in " ".join(ran.err.split())
    )
    ran = onnxcam(*words, "--set", "rank=1", "--target", "1", "-o", "ranked")
    assert ran.code == 0, ran.err
    assert [row.split("\t")[0] for row in ran.out.splitlines()[1:]] == ["one.png", "two.png"]
    assert onnxcam("explain", "net.onnx", "two.png", *"-p unit -m dff -l a --set concepts=2 -o out".split()).code == 0
    assert Path("out/two-concepts-dff-a-concepts-2-raw.npy").exists()  # beside that of the layer by itself
    assert "independent of the class" not in ran.err  # the target ranks the concepts


def test_an_interrupted_run_resumes(onnxcam: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(channels(), "net.onnx")
    for name in ("one.png", "two.png"):
        write(name, COLOURS)
    words = ("explain", "net.onnx", "one.png", "two.png", *"-p unit -m dff --set concepts=2 -o out".split())
    find = Explainer.concepts
    calls: list[object] = []

    def fails_at_second(self, images, *args, **options):
        calls.append(images)
        if len(calls) == 2:
            raise MethodError("stopped")
        return find(self, images, *args, **options)

    monkeypatch.setattr(Explainer, "concepts", fails_at_second)
    assert onnxcam(*words).code == 2
    ran = onnxcam(*words)
    assert ran.code == 0, ran.err
    assert len(calls) == 3
    assert len(ran.out.splitlines()) == 5  # the header and two concepts of each image


def test_the_page(onnxcam: Run) -> None:
    """Its commands and its Python run, in a folder with the files that it names."""
    assets = resources.files("onnxcam") / "assets"
    for source, name in (("shapes.onnx", "model.onnx"), ("shapes_1.png", "img.jpg"), ("shapes_2.png", "second.png")):
        Path(name).write_bytes((assets / source).read_bytes())
    assert len(follow("concepts.md", onnxcam)) == 2
    assert {path.name for path in Path("both").iterdir()} == {
        "img-concepts-dff-concepts-6-together-yes-overlay.jpg",
        "img-concepts-dff-concepts-6-together-yes-raw.npy",
        "manifest.json",
        "second-concepts-dff-concepts-6-together-yes-overlay.jpg",
        "second-concepts-dff-concepts-6-together-yes-raw.npy",
    }
