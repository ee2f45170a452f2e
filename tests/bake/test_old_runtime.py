"""A baked file in an ONNX Runtime of three years ago, against the map that Python makes today."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.bake.bake import bake
from onnxcam.bake.outputs import MapSize
from onnxcam.errors import ModelError
from onnxcam.media import heatmap
from onnxcam.methods import METHODS
from tests.bake.baked import SHAPES, session, tensor
from tests.bake.tasks import letters, shapes, tensors

MODELS = Path(__file__).parents[2] / "models"
OLD = "1.16.3"  # November 2023: opset 19 and IR version 9 at most
METHODS_OF_ONE_PASS = [
    id for id, each in METHODS.items() if each.in_graph and not (each.needs_attention or each.needs_words)
]
RUN = """
import sys, pathlib, numpy, onnxruntime
assert onnxruntime.__version__ == sys.argv[1], onnxruntime.__version__
for file in sorted(pathlib.Path(sys.argv[2]).glob("*.onnx")):
    feeds = dict(numpy.load(file.with_suffix(".npz")))
    wrong = ["AttentionFusion"]  # reads beyond the inputs of a node where a gradient branches off, and aborts
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"], disabled_optimizers=wrong)
    numpy.save(file.with_suffix(".npy"), session.run(["heatmap"], feeds)[0])
"""


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with that runtime, for PYTHONPATH; ONNXCAM_OLD_RUNTIME names one that is there."""
    if given := os.environ.get("ONNXCAM_OLD_RUNTIME"):
        return Path(given)
    if sys.version_info >= (3, 12):
        pytest.skip(f"onnxruntime {OLD} has no wheels for Python {sys.version_info[0]}.{sys.version_info[1]}")
    folder = tmp_path_factory.mktemp("runtime")
    wanted = [f"onnxruntime=={OLD}", "numpy<2"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "--target", str(folder), *wanted]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"onnxruntime {OLD} cannot be had: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return folder


def cases(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Bake files and their inputs into *folder*; yield the name of each, and the map of Python."""
    for method in METHODS_OF_ONE_PASS:
        raw = Explainer(SHAPES, method=method).attribute(tensor(2), target="star")
        axis, summed = None if METHODS[method].at_layer else 0, METHODS[method].sums_channels
        maps = np.stack([heatmap.normalize(heatmap.flat(one, axis, summed=summed)) for one in raw])
        for opset in (18, 17, 13) if method == "gradcam" else (18, 13):
            name = f"{method}-{opset}"
            size: MapSize = "layer" if METHODS[method].at_layer else "input"
            bake(SHAPES, folder / f"{name}.onnx", method, target="star", map_size=size, opset=opset)
            np.savez(folder / f"{name}.npz", image=tensor(2))
            yield name, maps
    for model in ("classifier_fc", "classifier_vit"):
        made = bake(MODELS / f"{model}.onnx", folder / f"{model}.onnx", uint8=True, opset=17)
        (given,) = (baked := session(made.path)).get_inputs()
        shape = [length if isinstance(length, int) else 1 for length in given.shape]
        feeds = {given.name: np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)}
        np.savez(folder / f"{model}.npz", **feeds)
        yield model, baked.run(["heatmap"], feeds)[0]


TASKS = {
    "segmenter": {"onnxcam.class": np.int64([-1]), "onnxcam.point": np.float32([[30, 30]])},
    "embedder": {"onnxcam.reference": np.ones((1, 32), np.float32)},
    "upscaler": {"onnxcam.patch": np.float32([[4, 4, 30, 30]])},
    "reader": {"onnxcam.character": np.int64([1])},
}


def task_cases(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Bake models of other tasks and their inputs into *folder*; yield the name of each, and the map of today."""
    for model, inputs in TASKS.items():
        own = Explainer(MODELS / f"{model}.onnx")
        feeds = {own.network.picture: tensors(own, letters() if model == "reader" else shapes()), **inputs}
        made = bake(MODELS / f"{model}.onnx", folder / f"{model}.onnx", target="input", opset=17)
        np.savez(folder / f"{model}.npz", **feeds)
        yield model, session(made.path).run(["heatmap"], feeds)[0]


@pytest.mark.slow
@pytest.mark.parametrize("make", [cases, task_cases])
def test_it_runs_in_a_runtime_of_three_years_ago(
    make: Callable[[Path], Iterator[tuple[str, np.ndarray]]], old: Path, tmp_path: Path
) -> None:
    expected = dict(make(tmp_path))
    command = [sys.executable, "-c", RUN, OLD, str(tmp_path)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(old)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for name, maps in expected.items():
        found = np.load(tmp_path / f"{name}.npy")
        tolerance = 1 if found.dtype == np.uint8 else 1e-4
        np.testing.assert_allclose(found.astype(float), maps.astype(float), rtol=0, atol=tolerance, err_msg=name)


def test_the_ir_version_is_the_oldest_that_has_the_opset(tmp_path: Path) -> None:
    for opset, version in ((18, 8), (17, 8), (14, 7), (13, 7)):
        bake(SHAPES, tmp_path / "b.onnx", opset=opset)
        written = onnx.load(tmp_path / "b.onnx")
        assert (written.opset_import[0].version, written.ir_version) == (opset, version)
        onnx.checker.check_model(written)


def test_below_opset_13_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be written in opset 12: 13 is the oldest; it is in opset 18"):
        bake(SHAPES, tmp_path / "b.onnx", opset=12)
