"""The pack: a zip that records with Python, NumPy and ONNX Runtime alone, what the host records."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam.compare import device_runner as device
from onnxcam.compare.compare_recordings import compare_recordings
from onnxcam.compare.pack import pack
from onnxcam.compare.record import record
from onnxcam.compare.recordings import Recording
from onnxcam.compare.tasks.classification import ClassScores
from onnxcam.errors import ImageError, MethodError, OutputError, PreprocessError, RecordingError
from onnxcam.media import image
from tests.command import Ran
from tests.compare.recordings import SHAPES, photos
from tests.quantized import qdq

RUN = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import importlib.util, runpy
assert not any(map(importlib.util.find_spec, ("onnxcam", "onnx", "cv2", "PIL", "scipy")))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def runner(bare: Path, script: Path, *words: object) -> Ran:
    """Run ``run.py`` where nothing but NumPy and ONNX Runtime can be imported."""
    command = [sys.executable, "-I", "-S", "-c", RUN, str(bare), str(script), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Ran(done.returncode, done.stdout, done.stderr)


def unpacked(path: Path) -> Path:
    folder = path.with_suffix("")
    with zipfile.ZipFile(path) as opened:
        opened.extractall(folder)
    return folder


def same(first: Path, second: Path) -> None:
    """Assert that two recordings agree."""
    one, other = Recording(first), Recording(second)
    assert (one.info.sha256, one.info.method, one.info.layer) == (
        other.info.sha256,
        other.info.method,
        other.info.layer,
    )
    assert one.class_names == other.class_names
    for a, b in zip(one, other, strict=True):
        assert (a.sha256, a.size, a.target) == (b.sha256, b.size, b.target)
        assert isinstance(a.prediction, ClassScores)
        assert isinstance(b.prediction, ClassScores)
        assert (a.prediction.head, a.prediction.exclusive) == (b.prediction.head, b.prediction.exclusive)
        np.testing.assert_allclose(a.prediction.scores, b.prediction.scores, atol=1e-4)
        assert a.map is not None
        assert b.map is not None
        np.testing.assert_allclose(a.map, b.map, atol=1e-4 * float(np.abs(a.map).max()))


@pytest.mark.parametrize("method", ["gradcam", "gradient"])
@pytest.mark.parametrize("integers", [False, True])
def test_the_device_records_what_the_host_records(method: str, integers: bool, bare: Path, tmp_path: Path) -> None:
    model = SHAPES
    if integers:
        model = tmp_path / "int8.onnx"
        model.write_bytes(qdq(integer=True).SerializeToString())
    pictures = photos(tmp_path / "p", 3)
    record(model, pictures, tmp_path / "host", method)
    pack(model, tmp_path / "device.zip", pictures, method)
    ran = runner(bare, unpacked(tmp_path / "device.zip") / "run.py", "-o", tmp_path / "run")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("3 images in ")
    same(tmp_path / "host", tmp_path / "run")
    assert [one.frame for one in Recording(tmp_path / "run")] == [one.frame for one in Recording(tmp_path / "host")]


def test_pictures_that_the_device_reads_itself(bare: Path, tmp_path: Path) -> None:
    pictures = photos(tmp_path / "p", 2)
    record(SHAPES, pictures, tmp_path / "host")
    pack(SHAPES, tmp_path / "device.zip")
    script = unpacked(tmp_path / "device.zip") / "run.py"
    ran = runner(bare, script, *pictures, "-o", tmp_path / "run")
    assert ran.code == 0, ran.err
    same(tmp_path / "host", tmp_path / "run")
    np.save(tmp_path / "0.npy", image.read(pictures[0]))
    grey = image.read(pictures[0])[..., 0]
    (tmp_path / "grey.pgm").write_bytes(b"P5 # a comment\n96 96\n255\n" + grey.tobytes())
    ran = runner(bare, script, tmp_path / "0.npy", tmp_path / "grey.pgm", "-o", tmp_path / "npy")
    assert ran.code == 0, ran.err
    found = Recording(tmp_path / "npy")
    np.testing.assert_array_equal(found[0].prediction.scores, Recording(tmp_path / "run")[0].prediction.scores)
    assert found[0].sha256 == hashlib.sha256((tmp_path / "0.npy").read_bytes()).hexdigest()
    np.testing.assert_array_equal(device.read_picture(tmp_path / "grey.pgm"), np.repeat(grey[..., None], 3, 2))


def test_a_device_does_not_crop(bare: Path, tmp_path: Path) -> None:
    """The host enlarges and crops, the device takes the images as they are: that is said, and recorded."""
    pictures = photos(tmp_path / "p", 2)
    cropping = "resize=110,crop=96x96"
    made = pack(SHAPES, tmp_path / "device.zip", preprocess=cropping)
    (words,) = [one for one in made.warnings if "the device does not crop or scale" in one]
    script = unpacked(tmp_path / "device.zip") / "run.py"
    assert runner(bare, script, *pictures, "-o", tmp_path / "run").code == 0
    record(SHAPES, pictures, tmp_path / "cropped", preprocess=cropping)
    with pytest.raises(RecordingError, match=r"images are cropped and scaled differently, resize=110,crop=96x96 in .*"):
        compare_recordings(tmp_path / "cropped", tmp_path / "run")
    record(SHAPES, pictures, tmp_path / "host", preprocess=words.split("--preprocess ")[1])
    same(tmp_path / "host", tmp_path / "run")


def test_classes_of_another_recording(bare: Path, tmp_path: Path) -> None:
    pictures = photos(tmp_path / "p", 2)
    record(SHAPES, pictures, tmp_path / "star", target="star")
    pack(SHAPES, tmp_path / "device.zip", pictures, explain_from=tmp_path / "star")
    ran = runner(bare, unpacked(tmp_path / "device.zip") / "run.py", "-o", tmp_path / "run")
    assert ran.code == 0, ran.err
    same(tmp_path / "star", tmp_path / "run")
    (other,) = photos(tmp_path / "q", 1, size=72)
    with pytest.raises(RecordingError, match=r"star' has no image like .*0\.ppm; record it there too"):
        pack(SHAPES, tmp_path / "other.zip", [other], explain_from=tmp_path / "star")


def test_a_reference_that_crops_in_another_way_is_refused_at_once(tmp_path: Path) -> None:
    """`compare` would refuse the recording of the device, after the run there."""
    pictures = photos(tmp_path / "p", 2)
    record(SHAPES, pictures, tmp_path / "host", preprocess="resize=110,crop=96x96,range=0-1")
    message = r"differently, resize=110,crop=96x96 in '.*host', resize=96x96 in this pack.* again with --preprocess res"
    with pytest.raises(RecordingError, match=message) as caught:
        pack(SHAPES, tmp_path / "device.zip", pictures, explain_from=tmp_path / "host", preprocess="resize=96x96")
    assert not (tmp_path / "device.zip").exists()
    stated = str(caught.value).split("`onnxcam pack` --preprocess ")[1].split(", or record")[0]
    assert stated.startswith("resize=110,crop=96x96")
    pack(SHAPES, tmp_path / "device.zip", pictures, explain_from=tmp_path / "host", preprocess=stated)


def test_the_class_may_be_said_on_the_device(bare: Path, tmp_path: Path) -> None:
    pack(SHAPES, tmp_path / "device.zip", photos(tmp_path / "p", 1), target="input")
    script = unpacked(tmp_path / "device.zip") / "run.py"
    assert runner(bare, script, "-o", tmp_path / "run", "--class", 3).code == 0
    assert Recording(tmp_path / "run")[0].target == 3


def test_a_killed_run_goes_on(bare: Path, tmp_path: Path) -> None:
    pictures = photos(tmp_path / "p", 4)
    pack(SHAPES, tmp_path / "device.zip", pictures)
    folder = unpacked(tmp_path / "device.zip")
    assert runner(bare, folder / "run.py", "-o", tmp_path / "whole").code == 0
    told = json.loads((folder / "pack.json").read_text())
    model = {**told["header"]["model"], "provider": "CPUExecutionProvider"}
    writer = device.RecordingWriter(tmp_path / "run", {**told["header"], "model": model})
    for row, outcome in enumerate(Recording(tmp_path / "whole")):
        if row < 2:
            writer.add({**told["pictures"][row]}, outcome.prediction.scores, outcome.map, outcome.target)
    writer.sync()
    writer.leave()  # as a kill leaves it: everything synced, nothing closed
    ran = runner(bare, folder / "run.py", "-o", tmp_path / "run")
    assert ran.code == 0, ran.err
    for file in ("recording.json", "maps.bin"):
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_two_packs_of_the_same_are_the_same_bytes(tmp_path: Path) -> None:
    pictures = photos(tmp_path / "p", 2)
    made = [pack(SHAPES, tmp_path / name, pictures).path.read_bytes() for name in ("a.zip", "b.zip")]
    assert made[0] == made[1]
    with zipfile.ZipFile(tmp_path / "a.zip") as opened:
        assert opened.namelist() == ["model.onnx", "pack.json", "run.py", "tensors.bin"]
        assert opened.read("run.py") == Path(device.__file__).read_bytes()


def test_the_runner_is_of_python_3_8() -> None:
    ast.parse(Path(device.__file__).read_text("utf-8"), feature_version=(3, 8))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.ppm"], "is 72 x 72 pixels, the model takes 96 x 96; scale it first"),
        (["a.jpg"], "without Pillow only .npy, .ppm and .pgm are read; save it as one of these"),
        (["cut.ppm"], "cut.ppm: the image is cut off; copy it again"),
        (["nowhere.ppm"], "nowhere.ppm: no such file; check the name"),
        (["float.npy"], "is float64 [4, 4, 3]; an image is uint8 [H, W, 3] in RGB order"),
        (["16.pgm"], "16.pgm: is no PPM or PGM of 8 bits; save it as one of 0 to 255"),
        ([], "error: give images of the model's input size: .npy, .ppm or .pgm"),
        (["a.ppm", "--provider", "tpu"], "error: no provider 'tpu' in this onnxruntime; there is "),
    ],
)
def test_what_the_runner_refuses(words: Sequence[str], message: str, bare: Path, tmp_path: Path) -> None:
    (small,) = photos(tmp_path, 1, size=72)
    small.rename(tmp_path / "a.ppm")
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "cut.ppm").write_bytes(b"P6 96 96 255\n123")
    (tmp_path / "16.pgm").write_bytes(b"P5 96 96 65535\n123")
    np.save(tmp_path / "float.npy", np.zeros((4, 4, 3)))
    pack(SHAPES, tmp_path / "device.zip")
    script = unpacked(tmp_path / "device.zip") / "run.py"
    named = [str(tmp_path / word) if "." in word else word for word in words]
    ran = runner(bare, script, *named, "-o", tmp_path / "run")
    assert ran.code == 2
    assert message in ran.err
    assert "Traceback" not in ran.err


def test_a_damaged_pack_is_refused(bare: Path, tmp_path: Path) -> None:
    pack(SHAPES, tmp_path / "device.zip", photos(tmp_path / "p", 1))
    folder = unpacked(tmp_path / "device.zip")
    for file in ("model.onnx", "tensors.bin"):
        whole = (folder / file).read_bytes()
        (folder / file).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        ran = runner(bare, folder / "run.py")
        assert ran.code == 2
        assert f"{file}' is missing or damaged; unpack the zip again" in ran.err
        (folder / file).write_bytes(whole)
    ran = runner(bare, folder / "run.py", "a.ppm")
    assert ran.err == "error: the pack contains its images; give none\n"
    (folder / "pack.json").unlink()
    assert "unpack the whole zip and run its run.py" in runner(bare, folder / "run.py").err


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"method": "rise"}, MethodError, "rise asks the network many times and cannot be baked"),
        ({"images": ["nowhere.png"]}, ImageError, r"none of the 1 images can be read; the first: nowhere\.png"),
        ({"explain_from": "nowhere"}, RecordingError, "'nowhere' does not exist"),
        ({"path": "nowhere/d.zip"}, OutputError, r"cannot write 'nowhere/d\.zip': No such file or directory"),
    ],
)
def test_what_cannot_be_packed(
    settings: dict[str, Any], error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        pack(SHAPES, **{"path": "d.zip", **settings})
    assert not os.listdir(tmp_path)


def test_tensors_of_different_shapes_are_refused(tmp_path: Path) -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[n, 3, h, w] x) => (float[n, 3] y)
    <float[3, 3, 1, 1] k = {1, 0, 0, 0, 1, 0, 0, 0, 1}>
    {
        c = Conv(x, k)
        r = Relu(c)
        p = GlobalAveragePool(r)
        y = Flatten(p)
    }
    """
    onnx.save(onnx.parser.parse_model(text), tmp_path / "open.onnx")
    pictures = [*photos(tmp_path / "p", 1), *photos(tmp_path / "q", 1, size=72)]
    with pytest.raises(PreprocessError, match=r"became a tensor \[3, 72, 72\], the images before it \[3, 96, 96\]"):
        pack(tmp_path / "open.onnx", tmp_path / "d.zip", pictures, preprocess="resize=none")


def test_the_command(onnxcam: Callable[..., Ran], tmp_path: Path) -> None:
    photos(tmp_path / "p", 2)
    ran = onnxcam("pack", SHAPES, "-o", "device.zip", "--images", "p")
    assert ran.code == 0, ran.err
    assert "pictures\t2" in ran.out
    assert (tmp_path / "device.zip").is_file()


def test_from_the_host_to_the_device_and_back(onnxcam: Callable[..., Ran], bare: Path, tmp_path: Path) -> None:
    """The commands at the top of docs/recording.md."""
    photos(tmp_path / "photos", 3)
    assert onnxcam("record", SHAPES, "photos", "-o", "host").code == 0
    packed = onnxcam("pack", SHAPES, "-o", "device.zip", "--images", "photos", "--explain-from", "host")
    assert packed.code == 0, packed.err
    assert runner(bare, unpacked(tmp_path / "device.zip") / "run.py", "-o", tmp_path / "run").code == 0
    ran = onnxcam("compare", "host", "run", "-o", "report")
    assert ran.code == 0, ran.err
    assert "passed on 3 images" in ran.err
