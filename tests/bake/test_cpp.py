"""docs/explain.cc, compiled and run: the C and C++ API make of a baked file what Python makes of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from onnxcam import Explainer
from onnxcam.bake.bake import bake
from tests.bake.baked import SHAPES, SIZE, session, tensor
from tests.bake.tasks import MODELS, run, shapes, tensors
from tests.quantized import qdq

PROGRAM = Path(__file__).parents[2] / "docs" / "explain.cc"
PACKAGE = "com.github.asus4.onnxruntime@0.4.9"  # of npm: the only package of the registries here that has the headers
HEADERS = "ios-arm64_x86_64-simulator/onnxruntime.framework/Headers/"


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of onnxruntime_cxx_api.h: that of ONNXCAM_HEADERS, or the one in an npm package (150 MB)."""
    if given := os.environ.get("ONNXCAM_HEADERS"):
        return Path(given)
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm to get ONNX Runtime's headers with; set ONNXCAM_HEADERS")
    folder = tmp_path_factory.mktemp("headers")
    packed = subprocess.run([npm, "pack", "--silent", PACKAGE], cwd=folder, capture_output=True, text=True, check=False)
    if packed.returncode:
        pytest.skip(f"npm cannot get {PACKAGE}: {(packed.stderr.strip().splitlines() or ['?'])[-1]}")
    archive = next(folder.glob("*.tgz"))
    with tarfile.open(archive) as files:
        for member in files:
            if HEADERS in member.name and member.isfile():
                content = files.extractfile(member)
                assert content is not None
                (folder / Path(member.name).name).write_bytes(content.read())
    archive.unlink()
    return folder


@pytest.fixture(scope="module")
def program(headers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++")
    text = (headers / "onnxruntime_c_api.h").read_text(encoding="utf-8")
    wanted = int(text.partition("#define ORT_API_VERSION ")[2].split()[0])
    if wanted > int(onnxruntime.__version__.split(".")[1]):
        pytest.skip(f"the headers are of API {wanted}, the runtime is {onnxruntime.__version__}")
    folder = tmp_path_factory.mktemp("program")
    library = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"), None)
    if library is None:
        pytest.skip("this onnxruntime has no shared library")
    (folder / "libonnxruntime.so.1").symlink_to(library)
    made = folder / "explain"
    command = [
        compiler,
        "-std=c++17",
        f"-I{headers}",
        str(PROGRAM),
        str(folder / "libonnxruntime.so.1"),
        "-o",
        str(made),
    ]
    subprocess.run([*command, f"-Wl,-rpath,{folder}"], check=True)
    return made


@pytest.mark.parametrize("uint8", [False, True])
@pytest.mark.slow
def test_the_program_says_what_python_says(program: Path, uint8: bool, tmp_path: Path) -> None:
    made = bake(SHAPES, tmp_path / "b.onnx", uint8=uint8)
    tensor().tofile(tmp_path / "x.f32")
    files = [str(tmp_path / name) for name in ("b.onnx", "x.f32", "heat.raw")]
    said = subprocess.run([program, *files], capture_output=True, text=True, check=True).stdout
    scores, expected = session(made.path).run(
        [session(made.path).get_outputs()[0].name, "heatmap"], {"image": tensor()}
    )
    assert said == f"class {scores[0].argmax()}\n"
    found = np.fromfile(tmp_path / "heat.raw", expected.dtype).reshape(SIZE, SIZE)
    np.testing.assert_allclose(found.astype(float), expected[0].astype(float), rtol=0, atol=1 if uint8 else 1e-4)


@pytest.mark.slow
def test_the_program_runs_a_segmentation(program: Path, tmp_path: Path) -> None:
    made = bake(MODELS / "segmenter.onnx", tmp_path / "b.onnx")
    own = Explainer(MODELS / "segmenter.onnx")
    x = tensors(own, shapes())
    x.tofile(tmp_path / "x.f32")
    files = [str(tmp_path / name) for name in ("b.onnx", "x.f32", "heat.raw")]
    ran = subprocess.run([program, *files], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    expected = run(made.path, {"image": x})
    assert ran.stdout == f"class {expected['onnxcam.class.chosen'][0]}\n"
    found = np.fromfile(tmp_path / "heat.raw", np.float32).reshape(x.shape[2:])
    np.testing.assert_allclose(found, expected["heatmap"][0], atol=1e-4)


@pytest.mark.slow
def test_the_program_runs_files_of_integers(program: Path, tmp_path: Path) -> None:
    onnx.save(qdq(integer=True), tmp_path / "q.onnx")
    made = bake(tmp_path / "q.onnx", tmp_path / "b.onnx", uint8=True)
    x = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 8)).astype(np.uint8)
    x.tofile(tmp_path / "x.u8")
    files = [str(tmp_path / name) for name in ("b.onnx", "x.u8", "heat.raw")]
    said = subprocess.run([program, *files], capture_output=True, text=True, check=True).stdout
    scores, expected = session(made.path).run(["qy", "heatmap"], {"qx": x})
    assert scores.dtype == np.uint8
    assert said == f"class {scores[0].argmax()}\n"
    assert expected.max() == 255
    np.testing.assert_array_equal(np.fromfile(tmp_path / "heat.raw", np.uint8), expected.ravel())


def test_it_is_about_twenty_lines() -> None:
    code = [line for line in PROGRAM.read_text().splitlines() if line.strip() and not line.startswith(("//", "#"))]
    assert len(code) <= 24
