"""An option that the method, or another option, leaves without effect is refused in one line; none is ignored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import onnxcam as oc
from onnxcam.errors import MethodError
from onnxcam.explainer.explanation import npy
from onnxcam.explainer.grid import explain_grid
from tests.cli.test_cli import PICTURE, SHAPES, Run

MODELS = Path(__file__).parents[2] / "models"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("explain", "-m", "lrp", "-l", "layer4"), "lrp uses no layer that can be chosen; leave out layer= (--layer)"),
        (("explain", "-m", "rise", "-m", "attnlrp", "-l", "layer4"), "rise, attnlrp use no layer"),
        (("batch", "-m", "occlusion", "-l", "layer4"), "occlusion uses no layer"),
        (("compare-methods", "-m", "lrp", "-m", "gradient", "-l", "layer4"), "lrp, gradient use no layer"),
        (("evaluate", "-m", "lrp", "-l", "layer4"), "lrp uses no layer"),
        (("validate", SHAPES, "-m", "rise", "-l", "layer4"), "rise uses no layer"),
        (("explain", "-m", "gradcam", "-m", "rise", "--set", "x=1"), "gradcam has no setting 'x'"),
        (("explain", "-m", "gradcam", "--set", "rise.samples=9"), "a setting of 'rise', which is not among gradcam"),
        (("explain", "-m", "rise", "-m", "lrp", "--smooth", "aug"), "rise has no setting 'smooth'"),
        (("explain", "--dpi", 90), "--dpi has no effect without --sheet; leave it out"),
        (("explain", "--sheet", "s.png", "-o", "out"), "--output has no effect with --sheet"),
        (("explain", "--sheet", "s.png", "--maps", "all"), "--maps has no effect with --sheet"),
        (("explain", "--maps", "raw", "--boxes"), "--boxes has no effect with --maps raw"),
        (("explain", "--format", "png", "--quality", 80), "--quality has no effect with --format png"),
        (("explain", "-m", "dff", "--title", "A"), "--title has no effect where dff draws all concepts"),
        (("explain", "-m", "dff", "--sheet", "s.png"), "--sheet has no effect where dff draws all concepts"),
        (("batch", "--format", "webp"), "--format has no effect without --overlays"),
        (("batch", "--mask-values", "class"), "--mask-values has no effect without --truth"),
        (
            ("batch", "--images", "photos"),
            "images (--images) is the folder of the paths in a manifest or COCO JSON, and",
        ),
        (("evaluate", "--mask-values", "class"), "--mask-values has no effect without --truth"),
        (("compare-methods", "--title", "A"), "--title has no effect without --sheet"),
        (("compare-methods", "-m", "lrp"), "there is nothing to compare 'lrp' with; name two methods or more"),
    ],
)
def test_an_option_without_effect_is_refused(onnxcam: Run, words: tuple[object, ...], says: str) -> None:
    ran = onnxcam(words[0], SHAPES, PICTURE, *words[1:])
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert not list(Path().glob("*out/*")) + list(Path().glob("*.png"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-m", "lrp", "-l", "layer4"), "lrp uses no layer"),
        (("-m", "gradient", "--map-size", "layer"), "the map of gradient has the input's size"),
    ],
)
def test_bake_refuses_a_layer_that_is_none(onnxcam: Run, words: tuple[str, ...], says: str) -> None:
    ran = onnxcam("bake", SHAPES, "-o", "baked.onnx", *words)
    assert (ran.code, says in ran.err) == (2, True), ran.err
    assert not Path("baked.onnx").exists()


def test_boxes_are_for_images(onnxcam: Run) -> None:
    Path("volume.npy").write_bytes(npy(np.zeros((16, 16, 16), np.float32)))
    ran = onnxcam("explain", MODELS / "volumes.onnx", "volume.npy", "--boxes")
    assert (ran.code, "--boxes has no effect where the input is no image" in ran.err) == (2, True), ran.err


def test_each_method_gets_the_options_that_it_takes(onnxcam: Run) -> None:
    words = ("-m", "hirescam", "-m", "lrp", "-m", "smoothgrad", "-l", "layer3", "-l", "layer4", "--smooth", "aug")
    ran = onnxcam("explain", SHAPES, PICTURE, *words, "--set", "smoothgrad.samples=2", "--maps", "raw", "--json")
    assert ran.code == 0, ran.err
    found = [(entry["method"], entry["layer"]) for entry in json.loads(ran.out)]
    assert [method for method, _ in found] == ["hirescam", "hirescam", "lrp", "smoothgrad"]
    assert len({layer for _, layer in found}) == 3


def test_an_explainer_refuses_a_layer_without_use() -> None:
    with pytest.raises(MethodError, match="lrp uses no layer"):
        oc.Explainer("no.onnx", method="lrp", layer="layer4")
    explainer = oc.Explainer(SHAPES, layer="layer4")
    with pytest.raises(MethodError, match="integrated-gradients uses no layer"):
        explainer.replace(method="integrated-gradients")
    assert explainer.replace(method="lrp", layer=None).method == "lrp"
    with pytest.raises(MethodError, match="a sheet has one map of dff"):
        explain_grid([oc.Explainer(SHAPES, method="dff")], [str(PICTURE)], [None])
