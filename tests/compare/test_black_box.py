"""Maps by black-box methods: of ONNX Runtime and of a user's engine, with the same masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam.compare.black_box import BlackBox, black_box_method, measure
from onnxcam.compare.observer import Observer
from onnxcam.compare.validate import validate
from onnxcam.errors import EngineError, MethodError, MetricError
from onnxcam.methods import METHODS, ProcedureMethod, read_settings
from onnxcam.targets.aim import DirectionAim, ScoresAim, WeightsAim
from onnxcam.targets.goal import Goal
from tests.command import Ran
from tests.compare.engines import ENGINE, MODELS, engine, suppressing
from tests.compare.tasks.twins import drawn, line, scene
from tests.compare.twins import PICTURES, SHAPES

DETECTOR = MODELS / "detector.onnx"
FEW = {"samples": 32}


def black_box(model: Path, **options: Any) -> Observer:
    return Observer(model, maps="black-box", **{"settings": FEW, **options})


@pytest.mark.parametrize(("model", "method"), [(SHAPES, "rise"), (DETECTOR, "drise")], ids=["classifier", "detector"])
def test_an_engine_that_is_right(model: Path, method: str, tmp_path: Path) -> None:
    runner = engine(tmp_path, ENGINE.format(model=str(model)))
    found = validate(black_box(model), black_box(model, runner=runner), PICTURES[:1])
    assert found.passed, found.verdicts
    assert (found.reference.method, found.candidate.method) == (f"black-box {method}",) * 2
    assert found.summaries["pearson"].mean == pytest.approx(1)
    assert f"candidate: predictions and maps come from the runner {runner!r}" in found.warnings


def test_the_map_is_the_engine_s(tmp_path: Path) -> None:
    """An engine that sees the left half of the image only: the graph beside it cannot tell."""
    runner = engine(tmp_path, ENGINE.format(model=str(SHAPES))).replace(":run", ":half")
    graph = validate(SHAPES, Observer(SHAPES, runner=runner), PICTURES[:1])
    assert graph.summaries["pearson"].mean == pytest.approx(1)
    found = validate(black_box(SHAPES), black_box(SHAPES, runner=runner), PICTURES[:1])
    assert found.summaries["pearson"].mean < 0.5


def test_the_map_of_a_detection_lies_on_its_object() -> None:
    observer = black_box(DETECTOR, settings={"samples": 300})
    (outcome,) = observer.outcomes([observer.prepare(PICTURES[0])])
    assert len(outcome.maps) == 3
    for one in outcome.maps[:2]:
        assert one.map is not None
        assert one.box is not None
        rows, columns = (length / 64 for length in outcome.size)
        y, x = np.unravel_index(one.map.argmax(), one.map.shape)
        assert one.box[0] - 20 <= (x + 0.5) * columns <= one.box[2] + 20
        assert one.box[1] - 20 <= (y + 0.5) * rows <= one.box[3] + 20


def test_a_score_that_nothing_changes_has_a_blank_map(tmp_path: Path) -> None:
    """The density of the masks, which both models share, is no agreement."""
    count = Observer(SHAPES).classes
    text = f"import numpy as np\ndef run(x): return np.eye(1, {count}, dtype=np.float32).repeat(len(x['image']), 0)\n"
    text = text.replace("x['image']", "next(iter(x.values()))")
    found = validate(black_box(SHAPES), black_box(SHAPES, runner=engine(tmp_path, text)), PICTURES[:1])
    assert found.summaries["mapped"].mean == 0


def test_an_engine_of_one_image(tmp_path: Path) -> None:
    runner = engine(tmp_path, ENGINE.format(model=str(DETECTOR)))
    maps = []
    for function in ("run", "single"):
        observer = black_box(DETECTOR, runner=runner.replace(":run", f":{function}"))
        (outcome,) = observer.outcomes([observer.prepare(PICTURES[0])])
        maps.append([one.map for one in outcome.maps])
        told = "the model does not take several images at once: covered images are run one by one"
        assert (told in observer.network.warnings) == (function == "single")
    np.testing.assert_allclose(*maps, atol=1e-6)


def test_both_models_see_the_same_colours() -> None:
    """The same image as other numbers, such as the integers of a quantised input, is covered by the same colour."""
    maps = []
    for how in ("range=0-1", "range=-1-1"):
        observer = black_box(SHAPES, preprocess=how)
        image = observer.prepare(PICTURES[0])
        low = 0 if how == "range=0-1" else -1
        look = observer.look(image)
        run = look.run

        def shown(feeds: Any, names: Any, run: Any = run, low: int = low) -> Any:
            unit = {name: (x - low) / (1 - low) for name, x in feeds.items()}
            return run({name: x.astype(np.float32) for name, x in unit.items()}, names)

        method = METHODS["rise"]
        assert isinstance(method, ProcedureMethod)
        settings = read_settings(method, FEW)
        grey = observer.prepare_decoded("", np.full((*image.size, 3), 128, np.uint8), "").tensor
        goal = Goal(observer.network.task.aim, np.asarray(0), "0", 0)  # type: ignore[arg-type]
        box = BlackBox(observer.network, observer.task, method, settings, print)
        maps += box.maps(replace(look, run=shown), grey, [goal])
    np.testing.assert_allclose(*maps, atol=1e-5)


def test_other_black_box_methods(tmp_path: Path) -> None:
    runner = engine(tmp_path, ENGINE.format(model=str(SHAPES)))
    words: dict[str, Any] = {"method": "occlusion", "settings": {"stride": 0.2}}
    found = validate(black_box(SHAPES, **words), black_box(SHAPES, runner=runner, **words), PICTURES[:1])
    assert found.passed, found.verdicts
    assert found.candidate.method == "black-box occlusion"


@pytest.mark.parametrize("name", ["embedder", "segmenter", "upscaler", "reader", "captioner", "answerer"])
def test_every_task(name: str, tmp_path: Path) -> None:
    model, runner = MODELS / f"{name}.onnx", engine(tmp_path, ENGINE.format(model=str(MODELS / f"{name}.onnx")))
    image = drawn(tmp_path / "p", line if name == "reader" else scene, count=1) / "000.png"
    few: dict[str, Any] = {"objects": 1, "settings": {"samples": 12}}
    sides = [black_box(model, **few), black_box(model, **few, runner=runner)]
    found = [observer.outcomes([observer.prepare(image)])[0] for observer in sides]
    maps = [[one.map for one in outcome.maps] for outcome in found]
    assert maps[0]
    for one, other in zip(*maps, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_what_is_measured() -> None:
    observer = Observer(MODELS / "embedder.onnx")
    (name,), task = observer.network.outputs, observer.task
    y = np.arange(32, dtype=np.float32)[None]
    d = np.eye(32, dtype=np.float32)[3]
    cosine = measure(observer.network, task, Goal(DirectionAim(name), d, ""))
    assert cosine.of([y]) == pytest.approx(3 / np.linalg.norm(y))
    weighted = measure(observer.network, task, Goal(WeightsAim(name), d, ""))
    assert (weighted.tensors, weighted.of([y])) == ((name,), 3)
    with pytest.raises(MethodError, match=r"has the shape \[3\] for a covered image instead of \[32\]"):
        weighted.of([np.zeros((1, 3))])
    with pytest.raises(MethodError, match="black-box maps of the target 'a-b' are not supported"):
        measure(observer.network, task, Goal(ScoresAim(), d, "a-b"))
    inner = observer.network.open().model.graph.node(0).outputs[0].name or ""
    with pytest.raises(MethodError, match=f"a part of {inner!r}, a tensor inside the graph"):
        measure(observer.network, task, Goal(WeightsAim(inner), d, ""))


def test_a_detector_whose_scores_are_inside_the_graph(tmp_path: Path) -> None:
    model = suppressing(tmp_path / "nms.onnx")
    runner = engine(tmp_path, ENGINE.format(model=str(model)))
    told = "candidate: objects are read from the outputs, after the suppression in the graph"
    for maps in ("graph", "black-box"):
        settings = FEW if maps == "black-box" else {}
        sides = [Observer(model, maps=maps, runner=one, settings=settings, objects=2) for one in (None, runner)]
        found = validate(*sides, PICTURES[:1])
        assert found.passed, found.verdicts
        assert told in found.warnings
        assert len(found.journal[0].objects) == 2
        for one in found.journal[0].objects:
            assert one.scores[0] == one.scores[1]
            assert one.boxes[0] == one.boxes[1]


def test_an_engine_that_loses_objects_of_such_a_detector(tmp_path: Path) -> None:
    """The graph still tells what is left of the evidence; the score is the engine's: none."""
    model = suppressing(tmp_path / "nms.onnx")
    text = ENGINE.format(model=str(model)) + "\ndef blind(x): return [y[:1] for y in listed(x)]\n"
    runner = engine(tmp_path, text).replace(":run", ":blind")
    found = validate(Observer(model, objects=2), Observer(model, runner=runner), PICTURES[:1])
    assert found.verdict == "failed"
    assert found.summaries["kept"].mean < 0.5
    assert [one.scores[1] for one in found.journal[0].objects][1:] == [0]
    found = validate(black_box(model), black_box(model, runner=runner), PICTURES[:1])
    assert "no object of the outputs is at" in " ".join(found.journal[0].notes)


def test_what_was_done_is_kept(tmp_path: Path) -> None:
    runner = engine(tmp_path, ENGINE.format(model=str(SHAPES)))
    with pytest.raises(EngineError, match=r"OSError: overheated; \d of 2 images are done and kept"):
        validate(
            black_box(SHAPES, settings={"samples": 150}),
            black_box(SHAPES, settings={"samples": 150}, runner=runner.replace(":run", ":worn")),
            PICTURES,
            tmp_path / "out",
        )


def test_an_engine_that_hangs_is_stopped(tmp_path: Path) -> None:
    text = (
        ENGINE.format(model=str(SHAPES)) + "\nimport time\ndef slow(x): time.sleep(99 * (len(list(x.values())[0]) > 1))"
    )
    text += "; return run(x)\n"
    runner = engine(tmp_path, text).replace(":run", ":slow")
    observer = black_box(SHAPES, runner=runner, runner_timeout=1)
    with pytest.raises(EngineError, match=r"a run takes longer than 1 s; it was stopped; --runner-timeout allows more"):
        observer.outcomes([observer.prepare(PICTURES[0])])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Observer(SHAPES, maps="magic"), "maps come from graph or black-box, not from 'magic'"),
        (lambda: Observer(SHAPES, "gradcam", maps="black-box"), "but gradcam needs the graph; use one of occlusion, r"),
        (
            lambda: validate(SHAPES, black_box(SHAPES), PICTURES),
            "maps come from graph of the reference and black-box of the candidate: choose one",
        ),
    ],
)
def test_what_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises((MetricError, MethodError), match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_guessed_preprocessing_is_tried_without_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps take too long for the other preprocessings that may change the verdict."""
    bare, made = onnx.load(SHAPES), []
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "bare.onnx")
    maps = BlackBox.maps

    def counted(self: BlackBox, *told: Any) -> Any:
        made.append(told)
        return maps(self, *told)

    monkeypatch.setattr(BlackBox, "maps", counted)
    few: dict[str, Any] = {"settings": {"samples": 8}}
    sides = [black_box(tmp_path / "bare.onnx", **few), black_box(tmp_path / "bare.onnx", **few)]
    assert sides[0].network.resolved.guessed
    assert validate(*sides, PICTURES[:1]).summaries["top1"].mean == 1
    assert len(made) == 2
    assert [observer.objects for observer in sides] == [3, 3]


def test_the_default_follows_the_task() -> None:
    assert black_box_method("auto", Observer(DETECTOR).task) == "drise"
    assert black_box_method("lime", Observer(DETECTOR).task) == "lime"


def test_on_the_command_line(onnxcam: Callable[..., Ran], tmp_path: Path) -> None:
    runner = engine(tmp_path, ENGINE.format(model=str(SHAPES)))
    words = ("validate", SHAPES, SHAPES, PICTURES[0], "--runner", runner, "--maps", "black-box", "-o", "out")
    done = onnxcam(*words, "--set", "samples=40")
    assert done.code == 0, done.err
    assert "predictions and maps come from the runner" in done.err
    done = onnxcam(*words, "--set", "samples=40")
    assert (done.code, done.err.count("error:")) == (2, 1)
    done = onnxcam(*words[:-1], "other", "-m", "gradcam")
    assert (done.code, "black-box maps need outputs only" in done.err) == (2, True)
