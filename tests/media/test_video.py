"""Videos: sampling, networks of images and of clips over a file, and one-line errors."""

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from onnxcam.errors import ImageError, OutputError, PreprocessError
from onnxcam.explainer.explainer import Explainer
from onnxcam.media import image, video
from onnxcam.structure.layout import GridLayout

COUNT = 24
FORMS = {
    "ncthw": ("[n, 3, 8, 32, 32]", "", "x"),
    "nthwc": ("[n, 8, 32, 32, 3]", "t = Transpose<perm = [0, 4, 1, 2, 3]>(x)", "t"),
    "ntchw": ("[n, 8, 3, 32, 32]", "t = Transpose<perm = [0, 2, 1, 3, 4]>(x)", "t"),
}


def clip_network(form: str) -> onnx.ModelProto:
    """The mean of red, and of blue, in a clip."""
    shape, first, x = FORMS[form]
    return onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    clips (float{shape} x) => (float[n, 2] y)
    <float[2, 3, 1, 1, 1] w = {{1, -1, -1, -1, -1, 1}}>
    {{ {first} c = Conv({x}, w)  a = Relu(c)  p = GlobalAveragePool(a)  y = Flatten(p) }}
    """)


def image_network() -> onnx.ModelProto:
    return onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 17]>
    images (float[n, 3, 32, 32] x) => (float[n, 2] y)
    <float[2, 3, 1, 1] w = {1, -1, -1, -1, -1, 1}>
    { c = Conv(x, w)  a = Relu(c)  p = GlobalAveragePool(a)  y = Flatten(p) }
    """)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A black video of 24 frames, 8 a second, with a red square at the top left in frames 12 to 17."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 8, (64, 64))
    for number in range(COUNT):
        frame = np.zeros((64, 64, 3), np.uint8)
        if 12 <= number < 18:
            frame[8:24, 8:24, 2] = 255  # BGR
        writer.write(frame)
    writer.release()
    return path


@pytest.mark.parametrize("form", FORMS)
def test_a_network_of_clips_shows_when_and_where(clip: Path, form: str) -> None:
    explainer = Explainer(clip_network(form), preprocess="unit")
    layouts = {"ncthw": (1, (2, 3, 4)), "ntchw": (2, (1, 3, 4)), "nthwc": (4, (1, 2, 3))}
    assert explainer.network.layout == GridLayout(*layouts[form])
    found = explainer(clip, target=0)
    assert found.clip is not None
    assert found.clip.places == (1, 4, 7, 10, 13, 16, 19, 22)
    assert (found.clip.rate, found.map.shape, found.image.shape) == (8, (8, 64, 64), (8, 64, 64, 3))
    assert set(np.flatnonzero(found.along_time > 0.5)) == {4, 5}
    time, y, x = np.unravel_index(found.map.argmax(), found.map.shape)
    assert (time in (4, 5), 8 <= y < 24, 8 <= x < 24) == (True, True, True)
    assert not found.is_volume


def test_a_network_of_images_explains_each_frame(clip: Path, tmp_path: Path) -> None:
    found = Explainer(image_network(), preprocess="unit,resize=32x32", frames="stride=2")(clip, target=0)
    assert found.clip is not None
    assert found.clip.places == tuple(range(0, 24, 2))
    assert [at for at, score in enumerate(found.clip.scores) if score > 0.01] == [6, 7, 8]
    paths = found.save(tmp_path)
    header, *rows = csv.reader(paths["time"].read_text().splitlines())
    assert header == ["seconds", "weight", "score"]
    assert [float(row[0]) for row in rows] == [0.25 * k for k in range(12)]
    written = cv2.VideoCapture(str(paths["video"]))
    assert written.get(cv2.CAP_PROP_FRAME_COUNT) == 12
    assert np.load(paths["raw"]).shape == (12, 32, 32)
    assert found.overlay().shape[1] == 1200


def test_the_default_target_is_that_of_the_middle_frame(clip: Path) -> None:
    found = Explainer(image_network(), preprocess="unit,resize=32x32", frames=4)(clip)
    assert found.note == "0: the top target of the middle frame, number 15"


def test_the_command(clip: Path, tmp_path: Path, onnxcam) -> None:  # type: ignore[no-untyped-def]
    onnx.save(image_network(), tmp_path / "net.onnx")
    options = ("-t", "0", "-p", "unit,resize=32x32", "--frames", "6")
    done = onnxcam("explain", tmp_path / "net.onnx", clip, *options, "-o", tmp_path / "out")
    assert done.code == 0, done.err
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"clip-0-gradcam-overlay.mp4", "clip-0-gradcam-overlay.jpg", "clip-0-gradcam-time.csv"} < names


def test_frames() -> None:
    assert video.numbers(4, 100, 25, 8) == [12, 37, 62, 87]
    assert video.numbers(None, 5, 25, 8) == [0, 1, 2, 3, 4]
    assert video.numbers("stride=40", 100, 25, 8) == [0, 40, 80]
    assert video.numbers("fps=1", 100, 25, 8) == [0, 25, 50, 75]
    for wanted in ("soon", 0, "stride=0", "stride=1.5", "2.5"):
        with pytest.raises(PreprocessError, match=r"the frames are .*; give their number, such as 16, or stride=5"):
            video.numbers(wanted, 100, 25, 8)
    with pytest.raises(PreprocessError, match="more than 512 frames are asked for; take fewer"):
        video.numbers("stride=1", 1000, 25, 8)


def test_videos_that_cannot_be_read(clip: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[:400])
    for explainer in (Explainer(image_network()), Explainer(clip_network("ncthw"))):
        with pytest.raises(ImageError, match=r"cut\.mp4: is no video that OpenCV reads, or is cut off; copy it again"):
            explainer(cut, target=0)
    with pytest.raises(ImageError, match=r"clip\.mp4: 4 frames are taken, and the model takes 8"):
        Explainer(clip_network("ncthw"), frames=4)(clip, target=0)
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(ImageError, match=r"a\.png: is no video; the model takes clips of 8 frames"):
        Explainer(clip_network("ncthw"))(tmp_path / "a.png")


def test_frames_are_images_by_their_names(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, numbers, _ = video.sampled(clip, "stride=5", 1)
    for number, frame in zip(numbers, frames, strict=True):
        np.testing.assert_array_equal(image.read(f"{clip}#{number}"), frame)
    monkeypatch.setattr(cv2, "CAP_PROP_POS_FRAMES", -1)  # as where OpenCV cannot seek
    np.testing.assert_array_equal(image.read(f"{clip}#{number}"), frame)
    for name in (f"{clip}#99", "missing.mp4#0"):
        with pytest.raises(ImageError, match=r"frame 99 of the video cannot be read|missing.mp4: no such file"):
            image.read(name)


def test_validate_evaluate_and_record_take_the_frames_of_a_video(
    clip: Path, tmp_path: Path, onnxcam: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("scipy", reason="the extra onnxcam[edge] is not installed")
    monkeypatch.chdir(tmp_path)
    onnx.save(image_network(), "net.onnx")
    own = (clip, "--frames", "4", "-p", "unit")
    ran = onnxcam("validate", "net.onnx", "net.onnx", *own, "-o", "validated", "-r", "top1>=1", "-t", "0")
    assert ran.code == 0, ran.err
    found = json.loads(Path("validated", "validation.json").read_text(encoding="utf-8"))["pictures"]
    assert [one["picture"] for one in found] == [f"{clip}#{number}" for number in (3, 9, 15, 21)]
    assert 'alt="the image clip.mp4#15"' in Path("validated", "report.html").read_text(encoding="utf-8")
    assert onnxcam("evaluate", "net.onnx", *own, "-o", "evaluated", "--metric", "sparseness", "-t", "0").code == 0
    assert len(json.loads(Path("evaluated", "evaluation.json").read_text(encoding="utf-8"))["pictures"]) == 4
    assert onnxcam("record", "net.onnx", *own, "-o", "recorded").code == 0
    ran = onnxcam(
        "validate", "net.onnx", "net.onnx", clip, "--frames", "99", "-p", "unit", "-o", "all", "-r", "top1>=1"
    )
    assert "clip.mp4: has 24 frames, and 99 are asked for: all are taken" in ran.err
    image.write("photo.png", np.zeros((32, 32, 3), np.uint8))
    ran = onnxcam("validate", "net.onnx", "net.onnx", "photo.png", "--frames", "4", "-o", "none")
    assert (ran.code, ran.err) == (
        2,
        "error: frames (--frames) are of videos, and none of the files is one; leave them out\n",
    )


def test_frames_of_what_is_no_video_are_refused(clip: Path) -> None:
    own = Explainer(image_network(), preprocess="unit", frames=30)
    assert own(clip, 0).warnings[0].endswith("clip.mp4: has 24 frames, and 30 are asked for: all are taken")
    for call in (own, own.each):
        with pytest.raises(
            PreprocessError, match=r"frames= .--frames. is for videos, and this is an image; leave it out"
        ):
            call(np.zeros((32, 32, 3), np.uint8), 0)


def test_a_codec_that_is_missing(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Explainer(image_network(), preprocess="unit,resize=32x32", frames=2)(clip, target=0)
    monkeypatch.setattr(cv2, "VideoWriter", Missing)
    with pytest.raises(OutputError, match=r"cannot write \.mp4 videos \(codec mp4v\); take --maps raw"):
        found.save(tmp_path / "out")
    assert not (tmp_path / "out").exists()


class Missing:
    """A writer without the codec."""

    fourcc = staticmethod(lambda *letters: 0)

    def __init__(self, *arguments: object) -> None:
        pass

    def isOpened(self) -> bool:
        return False

    def release(self) -> None:
        pass
