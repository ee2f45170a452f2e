"""Networks of signals in every layout, from files, with maps along time."""

import csv
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxcam
from onnxcam.errors import ImageError, PreprocessError
from onnxcam.explainer.explainer import Explainer
from onnxcam.methods import METHODS
from onnxcam.structure.layout import GridLayout
from tests.media.test_signal_files import write_wav

T = 40
BODY = """
    c = Conv<pads = {pads}>({x}, w)
    a = Relu(c)
    p = GlobalAveragePool(a)
    f = Flatten(p)
    y = Gemm<transB = 1>(f, v)
"""
FORMS = {
    "nct": ("[n, 2, 40]", "", "x", "[2, 2, 3]", "[1, 1]"),
    "ntc": ("[n, 40, 2]", "t = Transpose<perm = [0, 2, 1]>(x)", "t", "[2, 2, 3]", "[1, 1]"),
    "n1ct": ("[n, 1, 2, 40]", "", "x", "[2, 1, 2, 3]", "[0, 1, 0, 1]"),
    "keras": (
        "[n, 40, 2]",
        "t = Transpose<perm = [0, 2, 1]>(x)\nax = Constant<value_ints = [2]>()\nu = Unsqueeze(t, ax)",
        "u",
        "[2, 2, 1, 3]",
        "[0, 1, 0, 1]",
    ),
    "lite": (
        "[n, 40, 2]",
        "ax = Constant<value_ints = [1]>()\nu = Unsqueeze(x, ax)\nt = Transpose<perm = [0, 3, 1, 2]>(u)",
        "t",
        "[2, 2, 1, 3]",
        "[0, 1, 0, 1]",
    ),
    "nt": ("[n, 40]", "ax = Constant<value_ints = [1]>()\nu = Unsqueeze(x, ax)", "u", "[2, 1, 3]", "[1, 1]"),
    "open": ("[n, 2, t]", "", "x", "[2, 2, 3]", "[1, 1]"),
}
"""Layout: shape of the input, nodes before the convolution, its input, the shape of its weights, its padding."""


def network(form: str, **metadata: str) -> onnx.ModelProto:
    """Channel 0 of the layer answers to a rise, channel 1 to a fall, of the mean of the input's channels."""
    shape, first, x, weights, pads = FORMS[form]
    channels = 1 if form == "nt" else 2
    rise = ", ".join(["-1, 0, 1"] * channels)
    fall = ", ".join(["1, 0, -1"] * channels)
    text = f"""
    <ir_version: 8, opset_import: ["" : 17]>
    signals (float{shape} x) => (float[n, 2] y)
    <float{weights} w = {{{rise}, {fall}}}, float[2, 2] v = {{1, 0, 0, 1}}>
    {{ {first} {BODY.format(x=x, pads=pads)} }}
    """
    model = onnx.parser.parse_model(text)
    onnx.helper.set_model_props(model, metadata)
    return model


def step(at: int, length: int = T) -> np.ndarray:
    """A rise at sample *at*, and a slow fall behind it; both channels alike."""
    x = np.zeros(length, np.float32)
    x[at:] = 1 - np.arange(length - at) * 0.01
    return np.stack([x, x])


@pytest.mark.parametrize("form", FORMS)
def test_the_map_has_its_peak_at_the_event(form: str) -> None:
    x = step(25)
    found = Explainer(network(form), preprocess="raw")(x[:1] if form == "nt" else x, target=0)
    along = found.along_time
    assert along is not None
    assert along.shape == (T,)
    assert set(np.flatnonzero(along > 0.5)) == {24, 25}
    assert found.probability is not None
    assert found.warnings == ()


@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_is_that_of_the_mean_of_rises(form: str) -> None:
    x = step(25)
    x = x[:1] if form == "nt" else x
    found = Explainer(network(form), method="gradient", preprocess="raw")(x, target=0)
    padded = np.pad(x.sum(0), 1)
    rises = (padded[2:] - padded[:-2] > 0) / T  # d mean(relu(x[t+1] - x[t-1])) / d of it
    wanted = np.pad(rises, 1)[:-2] - np.pad(rises, 1)[2:]
    raw = np.squeeze(found.raw)
    raw = raw.T if form in ("ntc", "keras", "lite") else raw
    np.testing.assert_allclose(raw, np.broadcast_to(wanted, raw.shape), atol=1e-6)


OF_OTHERS = {id for id, each in METHODS.items() if each.needs_attention or each.needs_words or each.needs_detections}


@pytest.mark.parametrize("method", sorted(METHODS.keys() - OF_OTHERS - {"xrai"}))  # xrai segments images
def test_every_method_that_explains_a_vector_explains_a_signal(method: str) -> None:
    settings = {"lime": {"samples": 40}, "rise": {"samples": 40}, "dff": {"concepts": 2}}.get(method, {})
    found = Explainer(network("nct"), method=method, preprocess="raw", settings=settings)(step(25), target=0)
    assert found.map.shape == (T,)


def test_layouts() -> None:
    layouts = {form: Explainer(network(form)).network.layout for form in FORMS}
    assert layouts["nct"] == layouts["open"] == layouts["nt"] == GridLayout(1, (2,))
    assert layouts["ntc"] == layouts["keras"] == layouts["lite"] == GridLayout(2, (1,))
    assert layouts["n1ct"] == GridLayout(1, (2, 3))


def test_a_table_is_explained_along_time(tmp_path: Path) -> None:
    rows = [f"{k * 0.004:g},{a:g},{b:g}" for k, (a, b) in enumerate(step(25).T)]
    (tmp_path / "a.csv").write_text("\n".join(["time,I,II", *rows]))
    found = Explainer(network("nct"), preprocess="raw")(tmp_path / "a.csv", target=0)
    assert found.signal is not None
    assert (found.signal.rate, found.signal.channels, found.signal.unit) == (250, ("I", "II"), "seconds")
    assert found.warnings == ("column 'time' is the time and no channel: 250 samples in a second",)
    paths = found.save(tmp_path / "out")
    assert np.array_equal(np.load(paths["map"]), found.map)
    header, *lines = csv.reader(paths["time"].read_text().splitlines())
    assert header == ["seconds", "weight"]
    assert [float(time) for time, _ in lines] == pytest.approx(np.arange(T) / 250)
    assert [float(weight) for _, weight in lines] == pytest.approx(found.map, abs=1e-5)
    picture = found.overlay()
    assert picture.shape[1] == 1200
    assert (picture != 255).any(axis=2).mean() > 0.01
    assert found.boxes() == []
    assert found.box() is None


def test_the_command(tmp_path: Path, onnxcam) -> None:  # type: ignore[no-untyped-def]
    onnx.save(network("nct", sample_rate="250"), tmp_path / "net.onnx")
    (tmp_path / "records").mkdir()
    for at in (10, 30):
        np.savetxt(tmp_path / "records" / f"{at}.csv", step(at).T, delimiter=",")
    done = onnxcam("explain", tmp_path / "net.onnx", tmp_path / "records", "--target", "0", "-o", tmp_path / "out")
    assert done.code == 0, done.err
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"10-0-gradcam-overlay.jpg", "10-0-gradcam-time.csv", "30-0-gradcam-raw.npy"} < names
    assert "the preprocessing is a guess: 'raw'" in done.err
    image = tmp_path / "photo.png"
    image.write_bytes(b"no image")
    refused = onnxcam("explain", tmp_path / "net.onnx", image, "-o", tmp_path / "none")
    assert refused.code == 2
    assert "photo.png: is an image, and the model takes signals; give a .wav, .csv or .npy file" in refused.err
    assert not (tmp_path / "none").exists()
    told = onnxcam("inspect", tmp_path / "net.onnx")
    assert "rate: 250 Hz (the model's metadata)" in told.out
    assert "preprocessing: raw (the numbers as they are" in told.out


def sound(tmp_path: Path, count: int = T, rate: int = 250, channels: int = 2) -> Path:
    return write_wav(tmp_path / "a.wav", np.tile(step(25, count)[:1] * 0.5, (channels, 1)), 16, rate=rate)


def test_a_sound_of_the_models_rate(tmp_path: Path) -> None:
    found = Explainer(network("nct"), preprocess="raw", rate=250)(sound(tmp_path), target=0)
    assert found.warnings == ()
    unknown = Explainer(network("nct"), preprocess="raw")(sound(tmp_path), target=0)
    assert "the model does not state its rate; the 250 Hz of the sound were taken as they are" in unknown.warnings[0]


def test_another_rate_is_an_error_or_resampled(tmp_path: Path) -> None:
    path = sound(tmp_path, 2 * T, 500)
    with pytest.raises(ImageError, match=r"a\.wav: is sampled at 500 Hz.* takes 250 Hz; resample it first"):
        Explainer(network("nct"), rate=250)(path)
    found = Explainer(network("nct", sampling_rate="250"), preprocess="raw", resample=True)(path, target=0)
    assert found.warnings == ("resampled from 500 to 250 Hz",)
    assert abs(int(found.map.argmax()) - 12) <= 1


def test_channels(tmp_path: Path) -> None:
    mono = Explainer(network("nt"), preprocess="raw", rate=250)(sound(tmp_path), target=0)
    assert mono.warnings == ("the mean of the 2 channels of the sound was taken",)
    with pytest.raises(ImageError, match=r"a\.wav: has 1 channels, and the model takes signals of 2 x 40"):
        Explainer(network("nct"), rate=250)(sound(tmp_path, channels=1))
    (tmp_path / "a.csv").write_text("a,b,c\n" + "1,2,3\n" * T)
    with pytest.raises(ImageError, match=r"is a table of 3 columns \(a, b, c\) and 40 rows, and the model"):
        Explainer(network("nct"))(tmp_path / "a.csv")
    with pytest.raises(ImageError, match=r"is an array \[3, 40\], and the model takes signals of 2 x 40"):
        Explainer(network("nct"))(np.zeros((3, T), np.float32))
    turned = Explainer(network("nct"), preprocess="raw")(step(25).T, target=0)
    assert turned.warnings == ("the axes of the array were exchanged, which is [40, 2]",)


def test_a_longer_signal_is_never_cut_silently() -> None:
    x = step(60, 100)
    with pytest.raises(ImageError, match=r"has 100 samples, .* takes 40; choose where they start with start="):
        Explainer(network("nct"), rate=250)(x)
    with pytest.raises(ImageError, match=r"\(--start\): 0 to 60, or 0s to 0.24s"):
        Explainer(network("nct"), rate=250)(x)
    for start in (50, "50", "0.2s"):
        found = Explainer(network("nct"), preprocess="raw", start=start, rate=250)(x, target=0)
        assert found.signal is not None
        assert found.signal.start == 50
        assert int(found.map.argmax()) in (9, 10)
        assert found.signal.times[0] == pytest.approx(0.2)
    with pytest.raises(ImageError, match="has 100 samples, and a part from 61 on is too short; start at 60 or before"):
        Explainer(network("nct"), start=61)(x)
    with pytest.raises(ImageError, match="has 39 samples, and the model takes 40; give a longer signal"):
        Explainer(network("nct"))(x[:, :39])
    assert Explainer(network("open"), preprocess="raw")(x, target=0).map.shape == (100,)


def test_values_of_options() -> None:
    with pytest.raises(PreprocessError, match="the start is 'soon'; give a sample, such as 8000, or seconds"):
        Explainer(network("nct"), start="soon")
    with pytest.raises(PreprocessError, match=r"the start is 1s, but no rate is known; state rate= \(--rate\)"):
        Explainer(network("nct"), start="1s")(step(60, 100))
    with pytest.raises(PreprocessError, match="the rate is 0; give the model's samples in a second"):
        Explainer(network("nct"), rate=0)
    with pytest.raises(PreprocessError, match=r"one of raw, zscore, minmax, peak, not 'zscor'.*zscore"):
        Explainer(network("nct"), preprocess="zscor")(step(25))


def test_scalings() -> None:
    x = step(25) * np.array([[3.0], [0.5]], np.float32)
    for kind, wanted in {
        "raw": x,
        "zscore": (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True),
        "minmax": x / x.max(1, keepdims=True),
        "peak": x / x.max(1, keepdims=True),
    }.items():
        made = Explainer(network("ntc"), preprocess=kind).prepare(x)
        np.testing.assert_allclose(made.tensor, wanted.T[None], atol=1e-6)


def test_the_file_decides_at_a_network_of_one_grey_channel(tmp_path: Path) -> None:
    explainer = Explainer(network("n1ct"), preprocess="raw")
    np.save(tmp_path / "a.npy", step(25))
    found = explainer(tmp_path / "a.npy", target=0)
    assert found.map.shape == (2, T)
    assert found.image.shape == (1, 2, T)
    image = explainer(np.zeros((2, T, 3), np.uint8) + np.arange(T, dtype=np.uint8)[:, None], target=0)
    assert image.image.dtype == np.uint8
    with pytest.raises(ImageError, match=r"is a sound, .* arrays of 1 x 2 x 40 .*, the features of one"):
        explainer(sound(tmp_path))


def network_of_images() -> onnx.ModelProto:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    images (float[n, 3, 32, 32] x) => (float[n, 2] y)
    <float[2, 3, 1, 1] w = {1, 1, 1, -1, -1, -1}>
    { c = Conv(x, w)  a = Relu(c)  p = GlobalAveragePool(a)  y = Flatten(p) }
    """
    return onnx.parser.parse_model(text)


def test_a_signal_given_to_a_network_of_images(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "a.csv", step(25).T, delimiter=",")
    with pytest.raises(ImageError, match=r"a\.csv: is a table of 2 columns and 40 rows, .* arrays of 3 x"):
        Explainer(network_of_images())(tmp_path / "a.csv")
    with pytest.raises(ImageError, match=r"is a sound, .* takes images, .*; give an image, or take a model of signals"):
        Explainer(network_of_images())(sound(tmp_path))


def test_an_image_given_to_a_network_that_states_the_rate_of_signals(tmp_path: Path) -> None:
    photo = np.zeros((16, 16, 3), np.uint8)
    model = network("n1ct", sample_rate="250")
    with pytest.raises(ImageError, match=r"an image was given, .* takes signals: the model's metadata states 250 Hz"):
        Explainer(model)(photo)
    found = Explainer(model, preprocess="unit")(photo, target=0)
    assert "the image is stretched 20.0 times in one direction to fit the model's input" in found.warnings


def test_options_of_signals_for_an_image() -> None:
    explainer = Explainer(network_of_images(), rate=100)
    with pytest.raises(PreprocessError, match=r"\(--rate, --start, --resample\) are for signals, and this is none"):
        explainer(np.zeros((32, 32, 3), np.uint8))


def test_the_top_of_the_package() -> None:
    found = onnxcam.explain(network("nct"), step(25), preprocess="raw", target=0)
    assert found.signal is not None
    assert "signal" in repr(found) or found.signal.kind == "array"
