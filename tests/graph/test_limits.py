"""Small files that would take all memory or hours are refused by name, or worked on in little of both."""

from __future__ import annotations

import cProfile
import pstats
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from onnxcam.errors import ModelError
from onnxcam.graph import limits
from onnxcam.graph.fold import FOLD_LIMIT, FOLDS, computed
from onnxcam.graph.io import load
from onnxcam.inspection import survey
from onnxcam.media import image
from onnxcam.passes.bounds import refuse_giants
from tests.damaged import EXPANSION, added, calling, chain, constant, looping, nested, opened, ranged


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: nested(limits.DEPTH + 1), f"the given ModelProto has bodies nested deeper than {limits.DEPTH}"),
        (lambda: chain(limits.NODES), rf"has {limits.NODES + 5} nodes, .* onnxcam works on {limits.NODES}"),
    ],
    ids=["depth", "nodes"],
)
@pytest.mark.slow
def test_what_is_too_deep_or_too_long_is_refused(build: Callable[[], onnx.ModelProto], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        load(build())


def test_bodies_that_protobuf_reads_are_opened() -> None:
    data = nested(limits.DEPTH - 2).SerializeToString()
    assert load(data).graph.num_nodes() == 7


@pytest.mark.parametrize("condition", ["going", "same", "always"])
@pytest.mark.parametrize("trips", [2**62, None])
def test_loops_without_end_are_refused(condition: str, trips: int | None) -> None:
    with pytest.raises(ModelError, match=r"node 'round' \(Loop\) makes .* trips, and no condition ends it"):
        refuse_giants(load(looping(condition, trips)))


@pytest.mark.parametrize(("condition", "trips"), [("always", 1000), ("less", 2**62), ("less", None)])
def test_loops_that_may_end_are_opened(condition: str, trips: int | None) -> None:
    refuse_giants(load(looping(condition, trips)))


@pytest.mark.parametrize(
    "build",
    [
        lambda: ranged(2**36),
        lambda: ranged(2**28),
        lambda: calling(*EXPANSION),
        lambda: added(
            constant("s", [1.0] * 1000, np.float32),
            constant("n", [2**32]),
            helper.make_node("Tile", ["s", "n"], ["r"]),
        ),
        lambda: added(constant("s", [1.0]), constant("n", [0, 2**36]), helper.make_node("Pad", ["s", "n"], ["r"])),
        lambda: added(
            constant("s", np.ones((4000, 1)), np.float32),
            constant("u", np.ones((1, 4000)), np.float32),
            constant("t", np.ones((4000, 1, 1)), np.float32),
            helper.make_node("Add", ["s", "u"], ["su"]),
            helper.make_node("Add", ["su", "t"], ["r"]),
        ),
    ],
    ids=["range", "range that fits", "functions", "tile", "pad", "outer sums"],
)
@pytest.mark.slow
def test_small_files_take_no_more_than_four_gigabytes(build: Callable[[], onnx.ModelProto], tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path, picture = opened(build(), tmp_path), tmp_path / "picture.png"
    image.write(picture, np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))

    command = [sys.executable, "-c", "from onnxcam.cli import main; main()", "explain", path, picture]
    ran = subprocess.run(
        [*command, "-p", "unit", "-o", tmp_path / "out"], preexec_fn=limit, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode in (0, 2), ran.stderr
    assert ran.returncode == 0 or (ran.stderr.startswith("error: ") and len(ran.stderr.splitlines()) == 1)
    assert "is no valid ONNX model" not in ran.stderr  # the model is whole: its size is what is refused


@pytest.mark.parametrize(
    ("op_type", "arrays", "attributes"),
    [
        ("Range", [0, 2**60, 1], {}),
        ("Range", [0, 5, 0], {}),
        ("Range", [0.0, np.inf, 1.0], {}),
        ("Expand", [np.ones(1), np.array([2**62, 2**62])], {}),
        ("Expand", [np.ones(1), np.ones(40, np.int64)], {}),
        ("Add", [np.ones((FOLD_LIMIT, 1)), np.ones((1, FOLD_LIMIT))], {}),
        ("Where", [np.ones((4096, 1, 1)) > 0, np.ones((1, 4096, 1)), np.ones((1, 1, 4096))], {}),
        ("Gather", [np.ones((1, 4096)), np.zeros(4096, np.int64)], {}),
        ("Gather", [np.ones(3), np.array(7)], {}),
        ("Concat", [np.ones((2, 2)), np.ones(3)], {"axis": 5}),
        ("Div", [np.array([1]), np.array([0])], {}),
        ("Mod", [np.array([1]), np.array([0])], {}),
        ("Reshape", [np.ones(3), np.array([2, 2])], {}),
        ("Cast", [np.ones(3)], {"to": 99}),
        ("Squeeze", [np.ones(3), np.array([4])], {}),
    ],
)
def test_what_cannot_be_folded_is_left(op_type: str, arrays: list[object], attributes: dict[str, object]) -> None:
    assert computed(op_type, FOLDS[op_type], [np.asarray(array) for array in arrays], attributes) is None


def test_floats_by_zero_are_folded() -> None:
    found = computed("Div", FOLDS["Div"], [np.array([1.0]), np.array([0.0])], {})
    assert found is not None
    assert np.isinf(found).all()


def work(path: Path) -> int:
    """Return how many calls `survey` makes."""
    profile = cProfile.Profile()
    profile.runcall(survey, path)
    return sum(calls for calls, *_ in pstats.Stats(profile).stats.values())  # type: ignore[attr-defined]


@pytest.mark.slow
def test_inspect_is_linear_in_the_nodes(tmp_path: Path) -> None:
    work(opened(chain(10), tmp_path))
    few, more, most = (work(opened(chain(count), tmp_path)) for count in (40, 80, 120))
    assert most - more < 1.1 * (more - few)
