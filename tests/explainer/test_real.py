"""Real trained networks and photos, where the folder that holds them is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.autodiff import vjp
from onnxcam.errors import GradientError
from onnxcam.graph.io import load
from onnxcam.media import image
from onnxcam.media.heatmap import peak
from onnxcam.testing import run
from tests.command import Ran
from tests.real import OBJECTS

CROP = "resize=256,crop=224"
NETWORKS = {
    "squeezenet10_dc_f32": "caffe",
    "squeezenet10_dc_codebook": "caffe",
    "mobilenet_v1_025_224_f32": "inception",
    "mobilenet_v1_025_224_fused_ortext": "inception",
    "resnet8_cifar10_f32": "raw",
    "vww_mobilenet_96_f32": "unit",
}
IMAGENET = {
    "chickadee.jpg": "chickadee",
    "tabby_cat.jpg": "Egyptian cat",
    "cat_face.jpg": "Egyptian cat",
    "macaw.jpg": "macaw",
    "golden_puppy.jpg": "golden retriever",
    "puppies.jpg": "Labrador retriever",
    "dragonfly.jpg": "dragonfly",
    "sunflower.jpg": "daisy",
    "cheeseburger.jpg": "cheeseburger",
}
SEEN = {
    "squeezenet10_dc_f32": IMAGENET,
    "squeezenet10_dc_codebook": {"macaw.jpg": "macaw"},
    "mobilenet_v1_025_224_f32": {k: v for k, v in IMAGENET.items() if k != "dragonfly.jpg"},  # it sees a whiptail
    "resnet8_cifar10_f32": {"tabby_cat.jpg": 3, "cat_face.jpg": 3, "golden_puppy.jpg": 5, "purple_bus.jpg": 1},
    "vww_mobilenet_96_f32": {"squat.jpg": 1, "baseball.jpg": 1},
}


@pytest.fixture(scope="module")
def explainers(real: Path) -> Callable[[str, str], Explainer]:
    made: dict[tuple[str, str], Explainer] = {}

    def explainer(name: str, method: str) -> Explainer:
        if (name, method) not in made:
            path = real / "models" / f"{name}.onnx"
            made[name, method] = Explainer(path, method=method, preprocess=NETWORKS[name])
        return made[name, method]

    return explainer


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "cam"])
@pytest.mark.parametrize(("name", "photo"), [(name, photo) for name, photos in SEEN.items() for photo in photos])
def test_the_peak_lies_on_the_object(
    explainers: Callable[[str, str], Explainer], real: Path, name: str, photo: str, method: str
) -> None:
    explanation = explainers(name, method)(real / "images" / photo, target=SEEN[name][photo])
    x, y = peak(explanation.map)
    height, width = explanation.map.shape
    x0, y0, x1, y1 = OBJECTS[photo]
    reach = min(height, width) / min(explanation.raw.shape)  # a cell of the layer: it tells no finer
    assert x0 * width - reach <= x <= x1 * width + reach
    assert y0 * height - reach <= y <= y1 * height + reach
    inside = explanation.map[int(y0 * height) : int(y1 * height), int(x0 * width) : int(x1 * width)].sum()
    assert inside / explanation.map.sum() > (x1 - x0) * (y1 - y0)


@pytest.mark.parametrize("name", ["squeezenet10_dc_f32", "mobilenet_v1_025_224_f32"])
def test_the_photos_are_recognised(explainers: Callable[[str, str], Explainer], real: Path, name: str) -> None:
    """The preprocessing is right only if the network names the objects."""
    photos = ["chickadee.jpg", "macaw.jpg", "golden_puppy.jpg", "cheeseburger.jpg"]
    found = explainers(name, "gradcam")([real / "images" / photo for photo in photos])
    assert [explanation.label for explanation in found] == [IMAGENET[photo] for photo in photos]
    assert all((explanation.probability or 0) > 0.5 for explanation in found)


def test_two_animals_in_one_photo(explainers: Callable[[str, str], Explainer], real: Path) -> None:
    dog, cat = (
        explainers("squeezenet10_dc_f32", "gradcam")(real / "images" / "dog_cat.png", target=label)
        for label in ("bull mastiff", "tiger cat")
    )
    assert peak(dog.map)[1] < 0.62 * dog.map.shape[0] <= peak(cat.map)[1] + 0.1 * dog.map.shape[0]


@pytest.mark.parametrize("digit", range(10))
def test_digits(real: Path, digit: int) -> None:
    photo = real / "images" / "mnist" / f"{digit}.png"
    explanation = Explainer(real / "models" / "mnist_cntk.onnx", preprocess="raw", method="gradient")(photo)
    assert explanation.target == digit
    stroke = image.read(photo)[..., 0] > 64
    assert explanation.map[stroke].mean() > explanation.map[~stroke].mean()


def test_weights_made_of_a_codebook_give_the_same_map(explainers: Callable[[str, str], Explainer], real: Path) -> None:
    plain, coded = (
        explainers(name, "gradcam")(real / "images" / "macaw.jpg")
        for name in ("squeezenet10_dc_f32", "squeezenet10_dc_codebook")
    )
    np.testing.assert_allclose(plain.raw, coded.raw, rtol=1e-4, atol=1e-6)


def test_a_fused_file_gives_the_same_map(explainers: Callable[[str, str], Explainer], real: Path) -> None:
    plain, fused = (
        explainers(name, "gradcam")(real / "images" / "macaw.jpg", target="macaw")
        for name in ("mobilenet_v1_025_224_f32", "mobilenet_v1_025_224_fused_ortext")
    )
    np.testing.assert_allclose(plain.raw, fused.raw, rtol=1e-4, atol=1e-5 * np.abs(plain.raw).max())


def random_feeds(model: onnx.ModelProto, size: int = 64) -> dict[str, np.ndarray]:
    rng, feeds = np.random.default_rng(0), {}
    for value in model.graph.input:
        tensor = value.type.tensor_type
        dims = [d.dim_value or (1 if i == 0 else size) for i, d in enumerate(tensor.shape.dim)]
        feeds[value.name] = rng.standard_normal(dims).astype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    return feeds


@pytest.mark.parametrize(
    "name",
    [
        "brainchop_meshnet3d",
        "deeplabv3_mnv2_voc_f32",
        "espcn_x2",
        "fastestdet_coco",
        "mnist_binary_dianna",
        "mobilefacenet_embed128",
        "ppocr_angle_cls",
        "selfie_segmentation",
        "superres_espcn_x3",
        "ultraface_rfb320",
        "yunet_n_320",
    ],
)
@pytest.mark.slow
def test_every_float_network_has_an_input_gradient(real: Path, name: str) -> None:
    """Held against a central difference along the gradient itself, in float32: coarse, but of the whole network."""
    path = real / "models" / f"{name}.onnx"
    output = load(path).graph.outputs[0].name or ""
    gradient = vjp(path, [output])
    feeds = random_feeds(gradient, 24 if name == "brainchop_meshnet3d" else 64)
    seed = f"{output}.cotangent"
    picture = next(key for key in feeds if key != seed)
    plain = onnx.load(path)
    y = run(plain, {picture: feeds[picture]})[output]
    feeds[seed] = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    g = run(gradient, feeds)[f"{picture}.gradient"].astype(np.float64)
    assert np.isfinite(g).all()
    assert g.any()
    slopes = []
    for step in (1e-2, 3e-3, 1e-3):
        v = g / np.linalg.norm(g) * step
        ends = [run(plain, {picture: (feeds[picture] + sign * v).astype(np.float32)})[output] for sign in (1, -1)]
        difference = np.vdot(feeds[seed].astype(np.float64), ends[0].astype(np.float64) - ends[1])
        slopes.append(difference / (2 * step) / np.linalg.norm(g))
    assert min(abs(slope - 1) for slope in slopes) < 0.05


def test_a_file_of_another_librarys_operators(real: Path, onnxcam: Callable[..., Ran]) -> None:
    path = real / "models" / "superres_prepost_ortext.onnx"
    ran = onnxcam("explain", path, real / "images" / "macaw.jpg")
    assert ran.code == 2
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    with pytest.raises(GradientError, match="no floating output"):
        vjp(path)
