"""The layer of every stand-in has its grid, in the order of the picture: a moved square shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxcam import Explainer
from onnxcam.autodiff.differentiate import set_outputs
from onnxcam.engine import Session
from onnxcam.errors import EngineError, LayerError, OnnxcamError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import load
from onnxcam.structure.layer import Choice
from onnxcam.structure.layout import GridLayout, Layout, TokenLayout
from onnxcam.structure.probing import PictureProbe
from onnxcam.testing import run, tapped
from tests.structure.standins import CELL, SIZE, STANDINS, Net, computed_flatten, fewer_queries, kept_tokens

BATCHES = (1, "batch")


def chosen(model: onnx.ModelProto, layer: str | None = None) -> Choice:
    choice = Explainer(model, preprocess="unit", layer=layer).choice
    assert choice is not None
    return choice


def answers(model: onnx.ModelProto, choice: Choice, row: int, column: int) -> np.ndarray:
    """Return how much each cell of the layer changes, in the mean, if one patch of a picture does."""
    rng = np.random.default_rng(0)
    inside, layout = Session(load(tapped(model, [choice.layer.tensor])), "cpu"), choice.layer.layout
    total = np.zeros(1)
    for _ in range(6):
        x = rng.standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)
        changed = x.copy()
        patch = changed[:, :, row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
        patch[:] = rng.standard_normal(patch.shape)
        before, after = (layout.view(inside.run({"x": value})[choice.layer.tensor]) for value in (x, changed))
        total = total + np.square(after - before)[0].sum(axis=0)
    return total


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("standin", STANDINS, ids=lambda make: make.__name__)
def test_the_last_layer_has_its_grid(standin: Callable[[Net], onnx.ModelProto], batch: int | str) -> None:
    model = standin(Net(batch))
    choice = chosen(model)
    assert choice.layer.name in ("last", "conv5") or standin.__name__ == "windows"
    for row, column in ((0, 1), (2, 6), (5, 3), (7, 7)):
        found = answers(model, choice, row, column)
        assert found.shape == STANDINS[standin]
        peak = np.unravel_index(found.argmax(), found.shape)
        assert abs(peak[1] - column) <= 1
        assert len(found) == 1 or abs(peak[0] - row) <= 1


def test_a_layout_that_the_graph_shows_is_not_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("probed")

    monkeypatch.setattr(PictureProbe, "layouts", refuse)
    assert chosen(computed_flatten(Net(1))).source == "graph"
    with pytest.raises(AssertionError, match="probed"):
        chosen(kept_tokens(Net(1)))


@pytest.mark.parametrize("batch", BATCHES)
def test_how_the_layout_is_known(batch: int | str) -> None:
    assert chosen(kept_tokens(Net(batch))).source == "run"
    layout = chosen(kept_tokens(Net(batch))).layer.layout
    assert isinstance(layout, TokenLayout)
    order = np.random.default_rng(1).permutation(64)
    assert layout.order == tuple(np.argsort(order))


@pytest.mark.parametrize("batch", BATCHES)
def test_attention_without_a_residual_sum_has_the_grid_of_its_queries(batch: int | str) -> None:
    layer = chosen(fewer_queries(Net(batch))).layer
    assert layer.name == "last"
    assert layer.layout == TokenLayout(2, 1, (4, 4), 0)


def test_a_named_layer_is_probed() -> None:
    model = kept_tokens(Net())
    choice = chosen(model, "t4")
    assert choice.layer.tensor == "t4"
    assert choice.layer.layout.size(choice.layer.value) == (8, 8)
    assert choice.source == "user"


def test_a_named_layer_without_a_grid_is_refused_after_a_run() -> None:
    net = Net()
    x = net.block(net.tokens(net.patches()))
    mixed = net.op("MatMul", net.rng.standard_normal((64, 64)).astype(np.float32), x, name="mixed")
    model = net.classify(net.mean(net.norm(mixed), 1))
    with pytest.raises(LayerError, match="no spatial axes that can be followed"):
        chosen(model, "mixed")


def test_auto_says_what_lies_behind_without_a_grid() -> None:
    net = Net()
    x = net.norm(net.block(net.tokens(net.patches())), name="tokens")
    queries = net.op("MatMul", net.rng.standard_normal((20, 64)).astype(np.float32), x)
    for _ in range(2):
        queries = net.block(queries)
    choice = chosen(net.classify(net.mean(net.norm(queries, name="last"), 1)))
    assert choice.layer.name == "tokens"
    assert "behind it the place of" in choice.reason
    assert "'last'" in choice.reason


def test_auto_says_what_lies_behind_if_the_runs_reach_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: object) -> None:
        raise EngineError("the time limit")

    monkeypatch.setattr(PictureProbe, "layouts", late)
    choice = chosen(kept_tokens(Net()))
    assert choice.layer.name != "last"
    assert "'last'" in choice.reason


def test_auto_says_which_branch_it_shows() -> None:
    net = Net()
    stem = net.conv("x", 3, 16, stride=4)
    ends = [net.conv(stem, 16, 16, stride=stride, name=f"branch{stride}") for stride in (2, 4)]
    joined = net.op("Concat", *(net.mean(end, 2, 3) for end in ends), axis=1)
    choice = chosen(net.classify(joined, 32))
    assert choice.layer.name == "branch4"
    assert "beside it the scores depend on 'branch2'" in choice.reason


def test_auto_takes_the_tensor_in_which_branches_join() -> None:
    net = Net()
    stem = net.conv("x", 3, 16, stride=4)
    ends = [net.conv(stem, 16, 16, stride=2, name=f"branch{number}") for number in (1, 2)]
    joined = net.op("Concat", *ends, axis=1, name="joined")
    choice = chosen(net.classify(net.mean(joined, 2, 3), 32))
    assert choice.layer.name == "joined"
    assert "beside" not in choice.reason


@pytest.mark.parametrize("end", ["Relu", "Softplus"])
def test_an_output_convolution_is_no_layer(end: str) -> None:
    net = Net()
    x = net.conv("x", 3, 16, stride=4, name="features")
    density = net.op(end, net.op("Conv", x, net.random(1, 16, 1, 1)), name="density")
    explainer = Explainer(net.model(density, (1, 16, 16)), preprocess="unit")
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    assert explainer(image).layer == "features"


def test_a_target_that_does_not_depend_on_the_picture() -> None:
    net = Net()
    net.conv("x", 3, 16)
    model = net.model(net.op("Identity", net.random(1, 5), name="logits"), (5,))
    with pytest.raises(OnnxcamError, match="depend"):
        Explainer(model, preprocess="unit")(np.zeros((64, 64, 3), np.uint8), target="logits[0, 0]")


def test_the_order_of_a_grid_is_found_by_its_answers() -> None:
    """Channels last, rows and columns exchanged, no axis of pictures: the reading that agrees is taken."""
    layouts = {
        "nchw": GridLayout(1, (2, 3)),
        "nhwc": GridLayout(3, (1, 2)),
        "exchanged": GridLayout(1, (3, 2)),
        "single": GridLayout(0, (1, 2), None),
        "tokens": TokenLayout(2, 1, (8, 6), 1),
        "tokens first": TokenLayout(2, 0, (8, 6), 0, 1),
        "rows turned over": None,
    }

    def run_network(x: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        cells = x.reshape(1, 3, 8, 4, 6, 4).mean((3, 5))
        tokens = cells.reshape(1, 3, 48).transpose(0, 2, 1)
        found = {
            "nchw": cells,
            "nhwc": cells.transpose(0, 2, 3, 1),
            "exchanged": cells.transpose(0, 1, 3, 2),
            "single": cells[0],
            "tokens": np.concatenate([tokens.mean(1, keepdims=True), tokens], 1),
            "tokens first": tokens.transpose(1, 0, 2),
            "rows turned over": cells[:, :, ::-1],
            "vector": cells.mean((2, 3)),
        }
        return {name: found[name] for name in names}

    picture = np.random.default_rng(0).standard_normal((1, 3, 32, 24)).astype(np.float32)
    probe = PictureProbe(run_network, picture, GridLayout(1, (2, 3)))
    assert probe.layouts([*layouts, "vector"]) == layouts


@pytest.mark.parametrize(
    "layout", [TokenLayout(1, 0, (2, 3), 1, None, (5, 4, 3, 2, 1, 0)), GridLayout(2, (0, 1), None)]
)
def test_cells_are_the_same_in_numpy_and_in_the_graph(layout: Layout) -> None:
    x = np.random.default_rng(0).standard_normal((7, 4) if layout.rank == 2 else (2, 3, 4)).astype(np.float32)
    value = ir.Value(name="x", shape=ir.Shape(x.shape), type=ir.TensorType(ir.DataType.FLOAT))
    graph = ir.Graph([value], [], nodes=[], opset_imports={"": 18}, name="cells")
    op = Emitter(graph)
    set_outputs(op, {"y": layout.maps(op, value)}, replace=True)
    (found,) = run(ir.to_proto(ir.Model(graph, ir_version=8)), {"x": x}).values()
    np.testing.assert_array_equal(found, layout.view(x))
