"""Every task whose predictions are compared is recorded, packed and compared too, with the result of `validate`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models import letters, world
from onnxcam.compare.compare_recordings import compare_recordings
from onnxcam.compare.observer import Observer
from onnxcam.compare.pack import pack
from onnxcam.compare.record import record
from onnxcam.compare.recordings import Recording
from onnxcam.compare.validate import validate
from onnxcam.errors import MetricError, ModelError
from onnxcam.media import image
from tests.compare.test_pack import runner, unpacked
from tests.compare.test_record import same

MODELS = Path(__file__).parents[2] / "models"
NAMES = ("detector", "reader", "embedder")
SLOW = ("segmenter", "upscaler", "brightener", "captioner")
EVERY = [*NAMES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, list[Path]]:
    """Images of words and of scenes."""
    found = {}
    for words in (False, True):
        folder = tmp_path_factory.mktemp("words" if words else "scenes")
        for number in range(4):
            rng = np.random.default_rng([7, number])
            image.write(folder / f"{number}.png", (letters.sample(rng) if words else world.sample(rng)).image)
        found[words] = sorted(folder.iterdir())
    return found


def recordable(name: str) -> Observer:
    """Open a model of models/; skip the test where predictions of its task have no recordings."""
    try:
        observer = Observer(MODELS / f"{name}.onnx")
    except MetricError as error:
        pytest.skip(str(error))
    if not observer.prediction.forms:
        pytest.skip(f"predictions of {observer.prediction.task} have no recordings")
    return observer


@pytest.mark.parametrize("name", EVERY)
def test_two_steps_say_what_one_says(name: str, drawings: dict[bool, list[Path]], tmp_path: Path) -> None:
    observer, images = recordable(name), drawings[name == "reader"]
    other = str(observer.network.preprocessing).replace(
        "range=0-1", "range=0-0.8"
    )  # a candidate that sees darker images
    record(MODELS / f"{name}.onnx", images, tmp_path / "a")
    record(MODELS / f"{name}.onnx", images, tmp_path / "b", preprocess=other, explain_from=tmp_path / "a")
    for path, found in zip(images, Recording(tmp_path / "a"), strict=True):
        (expected,) = observer.outcomes([observer.prepare(path)])
        same(found, expected)
    found = compare_recordings(tmp_path / "a", tmp_path / "b")
    expected = validate(observer, Observer(MODELS / f"{name}.onnx", preprocess=other), images)
    assert found.summaries.keys() == expected.summaries.keys()
    for metric, summary in expected.summaries.items():
        assert found.summaries[metric].mean == pytest.approx(summary.mean, rel=1e-3, abs=1e-3), metric
    assert (found.task, found.passed) == (observer.prediction.task, expected.passed)


def test_the_alphabet_is_recorded_once(drawings: dict[bool, list[Path]], tmp_path: Path) -> None:
    images = drawings[True][:3]
    record(MODELS / "reader.onnx", images[:1], tmp_path / "one")
    record(MODELS / "reader.onnx", images, tmp_path / "a")
    found = Recording(tmp_path / "a")
    assert [sorted(one["arrays"]) for one in found.pictures] == [["alphabet", "known", "units"], ["units"], ["units"]]
    assert len({(tuple(one.prediction.alphabet), one.prediction.known) for one in found}) == 1  # type: ignore[attr-defined]
    assert found[0].prediction == Recording(tmp_path / "one")[0].prediction


@pytest.mark.parametrize("name", EVERY)
def test_the_host_reads_what_the_device_records(
    name: str, drawings: dict[bool, list[Path]], bare: Path, tmp_path: Path
) -> None:
    observer = recordable(name)
    images = drawings[name == "reader"][:2]
    if observer.prediction.task == "caption":
        with pytest.raises(
            ModelError, match=r"captioner.onnx, .*, runs several times for one image: use `onnxcam record`"
        ):
            pack(MODELS / f"{name}.onnx", tmp_path / "device.zip", images)
        return
    record(MODELS / f"{name}.onnx", images, tmp_path / "host")
    pack(MODELS / f"{name}.onnx", tmp_path / "device.zip", images)
    done = runner(bare, unpacked(tmp_path / "device.zip") / "run.py", "-o", tmp_path / "run")
    assert done.code == 0, done.err
    for one, other in zip(Recording(tmp_path / "host"), Recording(tmp_path / "run"), strict=True):
        for field, value in vars(one.prediction).items():
            found = getattr(other.prediction, field)
            if isinstance(value, np.ndarray):
                np.testing.assert_allclose(found, value, rtol=1e-3, atol=1e-3)
            else:
                assert found == value or tuple(found) == tuple(value)
    assert compare_recordings(tmp_path / "host", tmp_path / "run").summaries
