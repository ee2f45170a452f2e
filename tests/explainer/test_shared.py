"""Several detections of one image share a forward pass, and have the maps of one each."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcam import Explainer
from onnxcam.compare.observer import Observer
from onnxcam.explainer.runner import Runner
from onnxcam.methods import find_method, read_settings
from onnxcam.model.description import ModelDescription
from onnxcam.progress import quiet
from onnxcam.targets.detection import FIRST, Detections, detections
from onnxcam.targets.detectors.candidates import Aimer, Candidates
from tests.bake.tasks import MODELS, shapes

DETECTOR = MODELS / "detector.onnx"


def runner(method: str, layer: str | None = None) -> Runner:
    own = find_method(method)
    return Runner(ModelDescription(DETECTOR, "cpu"), own, read_settings(own, {}), layer, False, quiet)


@pytest.mark.parametrize("method", ["layercam", "gradcam", "hirescam"])
def test_maps_of_one_pass_are_those_of_one_each(method: str) -> None:
    own, explainer = runner(method), Explainer(DETECTOR, method=method, provider="cpu")
    x = np.asarray(own.network.modality.tensor(shapes()))
    look = own.network.look(x, None, {})
    targets = [f"detection={rank}" for rank in range(3)]
    found = own.maps(look, [own.network.resolve(target, look) for target in targets])
    assert found is not None
    for target, (_, outputs) in zip(targets, found, strict=True):
        raw = explainer.attribute(x, target)
        np.testing.assert_allclose(outputs["onnxcam.map"], raw, atol=1e-5 * raw.max())
    assert own.kept


@pytest.mark.parametrize(("method", "layer"), [("gradient", None), ("layercam", "neck.2")])
def test_what_shares_no_pass(method: str, layer: str | None) -> None:
    own = runner(method, layer)
    look = own.network.look(np.asarray(own.network.modality.tensor(shapes())), None, {})
    assert own.maps(look, [own.network.resolve("detection=0", look)]) is None


def test_an_observer_runs_the_network_once_for_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Observer(DETECTOR, provider="cpu")
    image = own.prepare_decoded("a", shapes(), "0")
    first = own.outcomes([image])[0]
    runs = []
    plain = own.network._run
    monkeypatch.setattr(own.network, "_run", lambda feeds, names: runs.append(names) or plain(feeds, names))
    again = own.outcomes([image])[0]
    assert len(runs) == 1
    assert len(again.maps) == 3
    for one, two in zip(first.maps, again.maps, strict=True):
        assert one.map is not None
        np.testing.assert_allclose(one.map, two.map, atol=1e-5)


def test_suppression_of_the_best_candidates() -> None:
    count = FIRST + 200
    left = 3.0 * np.arange(count)
    corners = np.stack([left, 0 * left, left + 2, 0 * left + 2], axis=1)
    seen = Candidates(corners, np.linspace(0.9, 0.3, count)[:, None], Aimer([], lambda candidate, category: []))
    assert len(detections(seen)) == count
    assert detections(seen, few=True) == detections(seen)[:FIRST]


def test_boxes_are_converted_together() -> None:
    network = ModelDescription(DETECTOR, "cpu")
    look = network.look(np.asarray(network.modality.tensor(shapes((96, 128)))), shapes((96, 128)), {})
    boxes = np.array([[1, 2, 30, 40], [0, 0, 64, 64]], np.float64)
    np.testing.assert_allclose(look.boxes(boxes), [look.to_picture([*box]) for box in boxes])
    assert isinstance(network.task, Detections)
    assert network.task.found(look, 0.01, 2)[0].shape == (2, 4)
