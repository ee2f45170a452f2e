"""Decoders in the graph: for each convention of the zoo the graph's detections are those of the numpy code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.autodiff.differentiate import set_outputs
from onnxcam.engine import Session
from onnxcam.errors import ModelError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import all_tensors
from onnxcam.model import probes
from onnxcam.targets.detection import MIN_PROBABILITY, SAME_OBJECT, Detections, detections
from onnxcam.targets.detectors.in_graph import emit_candidates, emit_detections, emit_weights
from onnxcam.targets.detectors.traced_steps import Traced
from tests.zoo.convention import Convention
from tests.zoo.conventions import CONVENTIONS

DETECTORS = [one for one in CONVENTIONS if one.task == "a detector"]
UNDECIDED = ("biubug6: RetinaFace",)
"""The classes of the tiny model tie where nothing is, so that plain images do not show which one is "no object"."""
COUNT = 5


@pytest.mark.parametrize("convention", DETECTORS, ids=str)
def test_the_graph_finds_what_numpy_finds(convention: Convention, tmp_path: Path) -> None:
    if convention.name in UNDECIDED:
        pytest.skip("its classes tie on plain images")
    path = tmp_path / "model.onnx"
    onnx.save(convention.make(), path)
    for name, text in convention.files.items():
        (tmp_path / name).write_text(text, "utf-8")
    network = Explainer(path, inputs=convention.inputs).network
    task = network.task
    assert isinstance(task, Detections)
    picture = network.modality.read(convention.image())
    look = network.look(network.modality.tensor(picture), picture, {})
    size, names = look.size, task.decoder.tensors
    plain = [np.full((*size, 3), value, np.uint8) for value in (0, 128, 255)]
    images = [network.modality.read(one) for one in (*plain, *probes.images((size[0], size[1])))]
    samples = [network.look(network.modality.tensor(one), None, {}).tensors(names) for one in images]
    samples = [sample for sample in samples if all(tensor.size for tensor in sample)] or samples

    prepared = network.open()
    op, tensors = Emitter(prepared.model.graph), all_tensors(prepared.model.graph)
    given = [tensors[name] for name in names]
    seen = emit_candidates(op, task.candidates, given, samples, prepared.batch, size)
    found = emit_detections(op, seen, COUNT, op.const(np.float32([MIN_PROBABILITY])), SAME_OBJECT)
    weights = emit_weights(op, seen, found, tensors)
    wanted = {"b": found.boxes, "s": found.scores, "k": found.classes, "i": found.candidates}
    wanted |= {f"w{number}": value for number, (_, value) in enumerate(weights)}
    out = dict(zip(wanted, set_outputs(op, wanted), strict=True))
    session = Session(prepared.model, "cpu")
    run = session.run({name: look.feeds[name] for name in session.inputs})
    graph = {key: run[name] for key, name in out.items()}

    truth = task.candidates(look.tensors(names), size)
    ranked = detections(truth)[:COUNT]
    count = len(ranked)
    assert count
    assert (graph["s"][0] > 0).sum() == count
    assert [*zip(graph["i"][0][:count].tolist(), graph["k"][0][:count].tolist(), strict=True)] == ranked
    assert (graph["k"][0][count:] == -1).all()
    np.testing.assert_allclose(graph["s"][0][:count], [truth.scores[one] for one in ranked], rtol=1e-5)
    if np.isfinite(truth.corners).all():
        corners = [truth.corners[candidate] for candidate, _ in ranked]
        np.testing.assert_allclose(graph["b"][0][:count], corners, rtol=1e-4, atol=1e-3)
    for rank, one in enumerate(ranked):
        aim, dense = truth.aim(*one)
        for number, (other, _) in enumerate(weights):
            np.testing.assert_allclose(graph[f"w{number}"][rank], dense if other == aim else 0, atol=1e-5)


def traced(*samples: object) -> Traced:
    model = onnx.parser.parse_model('<ir_version: 8, opset_import: ["": 18]> g (float[N, 2] x) => (float[N, 2] y) '
                                    "{ y = Identity(x) }")  # fmt: skip
    import onnx_ir as ir

    graph = ir.serde.deserialize_model(model).graph
    return Traced(Emitter(graph), [np.asarray(sample) for sample in samples], graph.inputs[0])


def test_a_decision_is_that_of_all_samples() -> None:
    x = traced([0.2, 0.9], [0.1, 3.0])
    assert not bool(x.max() <= 1)
    assert float(x.max()) == 3


def test_samples_that_disagree_are_refused() -> None:
    x = traced([0.2, 0.9], [0.1, 3.0])
    with pytest.raises(ModelError, match="probe images disagree"):
        bool(x[1] > 1)


def test_a_step_without_an_operator_is_refused_where_it_is_used() -> None:
    x = traced([0.2, 0.9], [0.1, 3.0])
    lost = np.cumsum(x) + 1
    assert len(lost) == 2
    with pytest.raises(ModelError, match="its decoder uses cumsum"):
        _ = lost.tensor
