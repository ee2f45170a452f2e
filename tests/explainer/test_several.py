"""Several classes of one image share one forward pass, and have the maps of one run each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcam import Explainer, Explanation
from onnxcam.engine import Session
from onnxcam.errors import TargetError
from onnxcam.explainer.manifest import Folder
from onnxcam.explainer.many import explain_images
from onnxcam.media.image import write
from onnxcam.methods.base import MethodsWith
from tests.networks import hand_model

REAL = Path(__file__).parents[3] / "shared" / "real" / "models"
PICTURE = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)


def five_classes(head: str = "") -> onnx.ModelProto:
    """Two convolutions and a linear head of five classes, whose gradient varies over the layer."""
    rng = np.random.default_rng(1)
    sizes = {"u": (4, 3, 3, 3), "w": (6, 4, 3, 3), "v": (5, 6 * 16)}
    weights = ", ".join(
        f"float[{', '.join(map(str, size))}] {name} = {{{', '.join(map(str, rng.standard_normal(size).ravel()))}}}"
        for name, size in sizes.items()
    )
    return onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[n, 3, 8, 8] x) => (float[n, 5] y) <{weights}>
    {{ c = Conv(x, u) a = Relu(c) d = Conv(a, w) b = Relu(d) f = Flatten(b)
      {"z = Gemm<transB = 1>(f, v) y = Softmax(z)" if head else "y = Gemm<transB = 1>(f, v)"} }}
    """)


def same(one: Explanation, other: Explanation) -> None:
    assert (one.target, one.label, one.words, one.layer) == (other.target, other.label, other.words, other.layer)
    assert one.score == pytest.approx(other.score, rel=1e-6)
    assert one.probability == pytest.approx(other.probability, rel=1e-6)
    np.testing.assert_allclose(one.raw, other.raw, rtol=1e-6, atol=1e-6 * np.abs(other.raw).max())
    np.testing.assert_allclose(one.map, other.map, atol=1e-6)
    assert one.outputs.keys() == other.outputs.keys()
    for name, value in one.outputs.items():
        np.testing.assert_allclose(value, other.outputs[name], rtol=1e-6)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batch of each run of a session."""
    seen: list[int] = []
    run = Session.run

    def noted(self, feeds, outputs=None):
        seen.append(len(feeds["x"]))
        return run(self, feeds, outputs)

    monkeypatch.setattr(Session, "run", noted)
    return seen


@pytest.mark.parametrize("head", ["", "softmax"])
@pytest.mark.parametrize("method", MethodsWith("gradient_cam").ids)
def test_five_best_classes_in_one_pass(method: str, head: str, passes: list[int]) -> None:
    explainer = Explainer(five_classes(head), method=method, preprocess="unit")
    passes.clear()
    found = explainer.each(PICTURE, "top=5")
    assert passes == [1]
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
    assert {one.target for one in found} == set(range(5))
    for one in found:
        same(one, explainer(PICTURE, one.target))


def test_a_list_of_classes_in_one_pass(passes: list[int]) -> None:
    explainer = Explainer(five_classes(), preprocess="unit", signed=True, features=True, smooth="eigen")
    passes.clear()
    found = explainer.each(PICTURE, [3, "top=2", np.int64(0), 3])
    assert passes == [1]
    assert [found[at].target for at in (0, 3, 4)] == [3, 0, 3]
    for one in found:
        alone = explainer(PICTURE, one.target)
        same(one, alone)
        np.testing.assert_array_equal(one.features, alone.features)


@pytest.mark.parametrize(
    ("method", "targets"),
    [("gradient", ["top=3"]), ("eigencam", [0, 1]), ("gradcam", ["0-1", 2]), ("gradcam", ["not 1", "top"])],
)
def test_others_have_a_pass_each(method: str, targets: list[str | int], passes: list[int]) -> None:
    explainer = Explainer(five_classes(), method=method, preprocess="unit")
    passes.clear()
    found = explainer.each(PICTURE, targets)
    assert len(passes) >= len(found) > 1
    for one in found:
        same(one, explainer(PICTURE, one.words))


@pytest.mark.parametrize(
    ("method", "target", "marked"),
    [
        ("eigencam", 1, True),
        ("fem", "not 1", True),
        ("eigencam", "top", False),
        ("eigencam", None, False),
        ("layercam", 1, False),
    ],
)
def test_a_target_of_a_method_that_hardly_depends_on_it(method: str, target: int | str | None, marked: bool) -> None:
    found = Explainer(five_classes(), method=method, preprocess="unit")(PICTURE, target)
    said = f"{method} is independent of the class: its map hardly depends on the target; gradcam shows what speaks for"
    assert [one.startswith(said) for one in found.warnings if "class" in one] == [True] * marked


def test_more_classes_than_there_are() -> None:
    assert len(Explainer(hand_model(), preprocess="unit").each(PICTURE[:2, :2], "top=9")) == 2


def test_a_class_that_is_not_there() -> None:
    with pytest.raises(TargetError, match="the model has 5 classes"):
        Explainer(five_classes(), preprocess="unit").each(PICTURE, [0, 7])


def test_one_target_that_cannot_be_leaves_the_others(tmp_path: Path) -> None:
    write(tmp_path / "a.png", PICTURE)
    write(tmp_path / "b.png", PICTURE)
    explainer = Explainer(five_classes(), preprocess="unit")
    with Folder(tmp_path / "out") as folder:
        names = [str(tmp_path / name) for name in ("a.png", "b.png")]
        explain_images(explainer, names, ["1", "7", "2"], folder)
    assert [entry.get("words") for entry in folder.entries] == ["1", None, "2"] * 2


@pytest.mark.skipif(not REAL.is_dir(), reason="the real models are not here")
@pytest.mark.parametrize("name", ["resnet8_cifar10_f32", "resnet8_cifar10_qdq", "mobilenet_v1_025_128_qdq"])
def test_real_models(name: str) -> None:
    explainer = Explainer(REAL / f"{name}.onnx")
    picture = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    for one in explainer.each(picture, "top=3"):
        same(one, explainer(picture, one.words))
