"""Targets of real trained networks on real images, where the folder that holds them is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcam import Explainer, Explanation
from onnxcam.errors import TargetError
from onnxcam.media import image
from onnxcam.media.heatmap import peak
from tests.optional import not_before

FACE = "resize=240x320,range=0-255,mean=127,std=128"


def explained(real: Path, model: str, photo: str, target: Any = None, **settings: Any) -> Explanation:
    return Explainer(real / "models" / f"{model}.onnx", **settings)(real / "images" / photo, target)


def within(explanation: Explanation, box: tuple[float, ...]) -> bool:
    x, y = peak(explanation.map)
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]


def test_a_face(real: Path) -> None:
    found = explained(real, "ultraface_rfb320", "grace_hopper.jpg", preprocess=FACE)
    assert found.detection == pytest.approx((147, 104, 306, 285), abs=2)
    assert "best detection: class 1 100%" in found.note
    assert within(found, found.detection or ())
    again = explained(real, "ultraface_rfb320", "grace_hopper.jpg", found.words, preprocess=FACE)
    np.testing.assert_allclose(again.raw, found.raw)


def test_a_box_names_its_own_detection(real: Path) -> None:
    explainer = Explainer(
        real / "models" / "ssd_mobilenet_v1_coco_qdq_nms.onnx", method="gradient", preprocess="range=-1-1"
    )
    photo = real / "images" / "dog_cat.png"
    for one in explainer.best(photo, 3):
        again = explainer(photo, one.words)
        assert (again.words, again.score) == (one.words, one.score)


def test_a_detection_that_is_not_there(real: Path) -> None:
    with pytest.raises(TargetError, match="there is no detection 1: the model detects 1 objects in this image"):
        explained(real, "ultraface_rfb320", "grace_hopper.jpg", "detection=1", preprocess=FACE)


@pytest.mark.parametrize("method", ["layercam", "hirescam"])
@pytest.mark.parametrize("name", ["dog", "cat"])
def test_dog_and_cat(real: Path, name: str, method: str) -> None:
    found = dog_and_cat(real, name, method)
    assert found.label == name
    assert (found.probability or 0) > 0.5
    assert found.detection is not None
    assert (found.detection[1] < 112) == (name == "dog")  # the dog sits above the cat
    assert within(found, found.detection)
    assert not any("keep it" in warning for warning in found.warnings)


def test_gradcam_says_that_it_may_lose_one_box(real: Path) -> None:
    """Its weights are means over the layer, in which the cat outweighs the dog."""
    found = dog_and_cat(real, "dog", "gradcam")
    assert not within(found, found.detection or ())
    assert found.warnings[-1] == (
        "gradcam averages gradients over the whole layer, which may lose the place of one box or patch; layercam and "
        "hirescam keep it"
    )


def dog_and_cat(real: Path, name: str, method: str) -> Explanation:
    not_before("onnxruntime", "1.32", "it rounds the int8 network otherwise, which sees no dog")
    settings = {"labels": real / "labels" / "coco90.txt", "preprocess": "range=-1-1", "method": method}
    return explained(real, "ssd_mobilenet_v1_coco_qdq_nms", "dog_cat.png", f"class={name}", **settings)


def test_the_region_of_a_cat(real: Path) -> None:
    settings = {"labels": real / "labels" / "voc21.txt", "preprocess": "range=-1-1"}
    found = explained(real, "deeplabv3_mnv2_voc_f32", "tabby_cat.jpg", "class=cat", **settings)
    height, width = found.map.shape
    assert within(found, (0.1 * width, 0.08 * height, 0.72 * width, height))
    top = explained(real, "deeplabv3_mnv2_voc_f32", "tabby_cat.jpg", **settings)
    assert top.note == "the class that covers most of the image beside the background, cat"
    np.testing.assert_allclose(top.raw, found.raw)


def test_a_person(real: Path) -> None:
    """One channel: the score is the mean of the logits over where the person is."""
    found = explained(real, "selfie_segmentation", "grace_hopper.jpg", preprocess="unit")
    seen = found.outputs["activation_10"] > 0.5
    assert 0.5 < seen.mean() < 0.65
    height, width = found.map.shape
    assert within(found, (0.1 * width, 0.1 * height, 0.95 * width, height))


def test_tissue_in_a_volume(real: Path) -> None:
    explainer = Explainer(real / "models" / "brainchop_meshnet3d.onnx")
    with np.load(real / "volumes" / "t1_crop_96.npz") as file:
        x = file["volume"][32:64, 32:64, 32:64][None, None].astype(np.float32) / 255
    white, grey = (explainer.attribute(x, f"class={index}") for index in (1, 2))
    assert white.shape == grey.shape == (1, 32, 32, 32)
    assert white.max() > 0
    assert np.isfinite(white).all()
    assert np.corrcoef(white.ravel(), grey.ravel())[0, 1] < 0.9


def test_a_patch_of_a_larger_picture(real: Path) -> None:
    found = explained(
        real, "superres_espcn_x3", "macaw.jpg", "patch=300,300,400,400", preprocess="unit", method="gradient"
    )
    height, width = found.map.shape
    assert found.detection == pytest.approx(
        (300 * width / 672, 300 * height / 672, 400 * width / 672, 400 * height / 672)
    )
    x1, y1, x2, y2 = (round(edge) for edge in found.detection or ())
    reach = 14  # the network sees 5 pixels around each of its 224, enlarging adds one; 512 / 224 of the image each
    inside = found.map[y1 - reach : y2 + reach, x1 - reach : x2 + reach].sum()
    assert inside == pytest.approx(found.map.sum(), rel=1e-5)


def test_a_face_is_like_itself(real: Path, tmp_path: Path) -> None:
    photo = real / "images" / "grace_hopper.jpg"
    image.write(tmp_path / "mirrored.png", image.read(photo)[:, ::-1].copy())
    explainer = Explainer(real / "models" / "mobilefacenet_embed128.onnx", preprocess="imagenet", method="gradient")
    near, far = explainer(photo, f"like={tmp_path}/mirrored.png"), explainer(photo, f"like={real}/images/stop_sign.jpg")
    assert near.score > far.score
    assert near.raw.any()
    assert near.label is None


def test_fastestdet(real: Path) -> None:
    """Plane 0 is the objectness, planes 5 to 84 the classes, 16 of them the dog."""
    settings = {"preprocess": "unit,order=bgr", "method": "layercam"}
    found = explained(real, "fastestdet_coco", "dog_cat.png", **settings)
    assert found.target == 16
    assert found.probability == pytest.approx(0.87, abs=0.01)
    assert found.detection == pytest.approx((76, 10, 170, 152), abs=2)
    assert within(found, found.detection or ())


def test_yunet(real: Path) -> None:
    found = explained(real, "yunet_n_320", "grace_hopper.jpg", preprocess="raw,order=bgr", method="layercam")
    assert found.probability == pytest.approx(0.94, abs=0.01)
    assert found.detection == pytest.approx((151, 88, 302, 290), abs=2)
    assert within(found, found.detection or ())
