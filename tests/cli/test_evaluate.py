"""``onnxcam evaluate`` as a user runs it: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from onnxcam import Explainer, __version__
from onnxcam.cli import evaluate, show
from onnxcam.media import image
from onnxcam.metrics import METRICS, base, lookup
from onnxcam.metrics.lookup import DEFAULT, all_metrics
from tests.command import Ran
from tests.docs_pages import follow

pytest.importorskip("matplotlib")
Run = Callable[..., Ran]
ASSETS = Path(str(resources.files("onnxcam") / "assets"))
SHAPES, PICTURE, TRUTH = ASSETS / "shapes.onnx", ASSETS / "shapes_1.png", ASSETS / "shapes_truth.json"
QUICK = [f"--set={id}.steps=4" for id in ("insertion", "deletion", "road-morf", "road-lerf")]


@pytest.mark.slow
def test_boxes_with_classes(onnxcam: Run) -> None:
    ran = onnxcam("evaluate", SHAPES, PICTURE, "--truth", TRUTH, "--baselines", *QUICK, "-o", "out")
    assert ran.code == 0, ran.err
    header, *rows = [line.split("\t") for line in ran.out.splitlines()]
    assert header == ["metric", "method", "mean", "low", "high"]
    assert ran.err.splitlines() == [
        "done: 1 of 1 image, by gradcam, random, centre, in out/",
        f"next: see the maps: onnxcam explain {SHAPES} IMAGE -m gradcam",
    ]
    expected = [id for id, thing in all_metrics().items() if thing.group in DEFAULT]
    assert [row[:2] for row in rows] == [[id, method] for id in expected for method in ("gradcam", "random", "centre")]
    assert rows[0] == ["pointing-game", "gradcam", "1.0000", "", ""]  # one image has no interval
    assert sorted(path.name for path in Path("out").iterdir()) == ["curves.pdf", "curves.png", "evaluation.json"]
    picture = image.read("out/curves.png")
    assert picture.shape[1] > 2000
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50  # something is drawn


def test_of_a_folder_all_pictures_are_measured(onnxcam: Run, tmp_path: Path) -> None:
    inside = tmp_path / "photos" / "inside"
    inside.mkdir(parents=True)
    for picture in (PICTURE, ASSETS / "shapes_2.png"):
        shutil.copy(picture, inside)
    ran = onnxcam("evaluate", SHAPES, "photos", "--metric", "sparseness", "--json", "-o", "out")
    assert ran.code == 0, ran.err
    named = [Path(row["image"]).name for row in json.loads(ran.out)["pictures"]]
    assert named == ["shapes_1.png", "shapes_2.png"]


@pytest.mark.slow
def test_json_is_the_file(onnxcam: Run) -> None:
    arguments = ["--truth", TRUTH, "--metric", "all", "-m", "gradcam", "-m", "gradient", "--seed", 5, *QUICK]
    arguments += ["--set=infidelity.samples=5", "--set=max-sensitivity.samples=2", "--set=sanity-cascading.stages=2"]
    ran = onnxcam("evaluate", SHAPES, PICTURE, *arguments, "--json", "-o", "out")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found == json.loads(Path("out/evaluation.json").read_text("utf-8"))
    assert found["onnxcam"] == __version__
    assert found["seed"] == 5
    assert found["preprocess"] == "resize=96x96,range=0-1,order=rgb,layout=nchw"
    assert found["truth"] == {"path": str(TRUTH), "format": "boxes", "values": "object"}
    assert found["layers"] == {"gradcam": "layer5.2", "gradient": None}
    assert found["settings"]["deletion"] == {"steps": 4}
    assert {row["metric"] for row in found["summary"]} == set(all_metrics())
    assert [row["target"]["label"] for row in found["pictures"]] == 2 * ["cross", "star", "ring", "circle"]
    assert set(found["pictures"][0]["metrics"]) == set(all_metrics())
    assert set(found["curves"]) == {"insertion", "deletion", "road-morf", "road-lerf"}
    curve = found["curves"]["road-morf"]["gradcam"]
    assert curve["share"] == [0.2, 0.4, 0.6, 0.8]
    assert len(curve["probability"]) == len(curve["accuracy"]) == 4
    checks = [check for check in found["checks"] if check["method"] == "gradcam"]
    assert [check["check"] for check in checks] == ["sanity-cascading", "sanity-independent", "sanity-target"]
    assert all(check["verdict"].endswith("passed" if check["passed"] else "FAILED") for check in checks)
    assert len(checks[0]["stages"]) == len(checks[0]["similarity"]) == 2


def test_a_seed_gives_the_same_file(onnxcam: Run) -> None:
    words = [
        "evaluate",
        SHAPES,
        PICTURE,
        "-t",
        "star",
        "--metric",
        "robustness",
        "--set=infidelity.samples=5",
        "--json",
    ]
    first, second, other = (onnxcam(*words, "--seed", seed, "--overwrite").out for seed in (1, 1, 2))
    assert first == second
    assert first != other


def test_masks(onnxcam: Run) -> None:
    Path("masks").mkdir()
    shutil.copy(ASSETS / "shapes_1_masks.png", "masks")
    ran = onnxcam("evaluate", SHAPES, PICTURE, "--truth", "masks", "--metric", "localisation", "--json")
    assert ran.code == 0, ran.err
    (row,) = json.loads(ran.out)["pictures"]
    assert row["metrics"]["pointing-game"] == 1
    assert not Path("onnxcam-evaluation/curves.png").exists()  # nothing to draw


def test_what_a_person_sees(onnxcam: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(highlight=False, force_terminal=True, color_system="standard", width=70)
    monkeypatch.setattr(show, "out", terminal)
    truth = ["--truth", TRUTH, "--metric", "pointing-game", "--metric", "box-error"]
    pictures = [PICTURE, ASSETS / "shapes_2.png"]
    ran = onnxcam("evaluate", SHAPES, *pictures, *truth, "--metric", "sanity-target", "--baselines")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert "pointing-game ↑" in lines[1]
    assert "\x1b[1m1.000 [1.000, 1.000]" in lines[1]  # the best is bold
    assert "box-error ↓" in lines[2]
    assert sum("pointing-game ↑" in line for line in lines) == 2  # two tables, since three methods are too wide
    assert "7 maps of 2 images; mean and 95 % bootstrap interval" in ran.out
    assert "gradcam: the map changes with the class: rank correlation" in ran.err
    assert "centre: the map is the same for another class: rank correlation 1.00: FAILED" in ran.err
    assert "in onnxcam-evaluation/" in lines[-1]
    assert not any("\x1b[1m" in line for line in lines if "sanity-target ↓" in line)  # a verdict is no contest
    assert "mean of 4 maps of one image" in onnxcam("evaluate", SHAPES, PICTURE, *truth, "-o", "one").out
    assert "one map" in onnxcam("evaluate", SHAPES, PICTURE, "--metric", "sparseness", "-o", "map").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--truth", "nowhere"], "truth 'nowhere' does not exist"),
        (["--truth", "half"], "no mask for shapes_2.png: 'half' has neither shapes_2.png nor"),
        (["--truth", "small"], "the mask is 10 × 10 pixels, the image 288 × 288; scale it"),
        (["--truth", "empty"], "the mask is empty: no pixel is an object; leave this image out"),
        (["--truth", "half", "--mask-values", "klass"], "values of masks are object, class, class+1, not 'klass'"),
        (["broken.png", "--strict"], "broken.png: is not an image that OpenCV reads, or is damaged"),
        (["--metric", "roadd"], "no metric is called 'roadd'"),
        (["--set", "steps"], "--set takes name=value"),
        (["--batch-size", "0"], "--batch-size"),
        (["-t", "pentagon"], "no class is named 'pentagon'"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(onnxcam: Run, words: list[str], message: str) -> None:
    for folder, size, value in (("half", 288, 1), ("small", 10, 1), ("empty", 288, 0)):
        Path(folder).mkdir()
        for name in ("shapes_1.png", "shapes_2.png") if folder != "half" else ("shapes_1.png",):
            cv2.imwrite(f"{folder}/{name}", np.full((size, size), value, np.uint8))
    Path("broken.png").write_text("no image", encoding="utf-8")
    ran = onnxcam("evaluate", SHAPES, PICTURE, ASSETS / "shapes_2.png", *words, "-o", "out")
    assert ran.code == 2
    assert message in ran.err
    assert ran.err.count("\n") == 1
    assert ran.out == ""
    assert not Path("out").exists()


def test_an_image_that_cannot_be_read_is_left_out(onnxcam: Run) -> None:
    Path("photos").mkdir()
    Path("photos/a.png").write_bytes(b"")
    Path("photos/b.gif").write_text("no image", encoding="utf-8")
    shutil.copy(PICTURE, "photos/c.png")
    ran = onnxcam("evaluate", SHAPES, "photos", "--metric", "sparseness", "--json", "-o", "out")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert [row["image"] for row in found["pictures"]] == ["photos/c.png"]
    assert [row["picture"] for row in found["unreadable"]] == ["photos/a.png", "photos/b.gif"]
    assert "warning: left out: photos/a.png: the file is empty; copy the image again" in ran.err
    Path("photos/c.png").unlink()
    ran = onnxcam("evaluate", SHAPES, "photos", "--metric", "sparseness", "-o", "none")
    assert ran.code == 2
    assert "none of the 2 images can be measured; the first: photos/a.png: the file is empty" in ran.err


def test_an_error_on_the_way_leaves_what_was_there(onnxcam: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("out").mkdir()
    Path("out/mine.txt").write_text("before", encoding="utf-8")
    monkeypatch.setattr(Explainer, "attribute", lambda self, x, target: np.full((len(x), 3, 3), np.nan, np.float32))
    ran = onnxcam("evaluate", SHAPES, PICTURE, "-o", "out")
    assert ran.code == 2
    assert [path.name for path in Path("out").iterdir()] == ["mine.txt"]
    assert Path("out/mine.txt").read_text(encoding="utf-8") == "before"


def test_a_folder_that_cannot_be_written_is_known_at_once(onnxcam: Run) -> None:
    Path("out").write_text("a file", encoding="utf-8")
    ran = onnxcam("evaluate", SHAPES, "no-such-picture.png", "-o", "out")
    assert ran.code == 2
    assert "cannot write into output folder 'out'" in ran.err


@pytest.mark.parametrize(
    ("missing", "message"),
    [("matplotlib", "the curves are drawn by matplotlib, which is"), ("scipy", "evaluate needs SciPy, which is")],
)
def test_without_the_extra(onnxcam: Run, monkeypatch: pytest.MonkeyPatch, missing: str, message: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    ran = onnxcam("evaluate", SHAPES, PICTURE)
    assert ran.code == 2
    assert f"{message} not installed; pip install 'onnxcam[evaluate]'" in ran.err
    assert not Path("onnxcam-evaluation").exists()


def test_a_guess_is_announced(onnxcam: Run) -> None:
    from tests.networks import hand_model

    Path("hand.onnx").write_bytes(hand_model().SerializeToString())
    ran = onnxcam("evaluate", "hand.onnx", PICTURE, "--metric", "sparseness")
    assert "guess" in ran.err


def test_the_page(onnxcam: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for id in ("insertion", "deletion", "road-morf", "road-lerf"):
        monkeypatch.setitem(METRICS[id].function.__kwdefaults__, "steps", 4)  # word for word, but quick
    truth = json.loads(TRUTH.read_text())
    names = Explainer(SHAPES).class_names or []
    shutil.copy(SHAPES, "model.onnx")
    for name in ("clip_image.onnx", "clip_text.onnx", "clip_text.tokenizer.json"):
        shutil.copy(Path(__file__).parents[2] / "models" / name, name)
    for folder in ("masks", "labelmaps"):
        Path(folder).mkdir()
    for own, name in (("shapes_1", "cat"), ("shapes_2", "dog")):
        shutil.copy(ASSETS / f"{own}.png", f"{name}.png")
        objects = cv2.imread(str(ASSETS / f"{own}_masks.png"), cv2.IMREAD_GRAYSCALE)
        assert objects is not None
        classes = np.array([0, *(names.index(entry["label"]) + 1 for entry in truth[f"{own}.png"])], np.uint8)
        cv2.imwrite(f"masks/{name}.png", objects)
        cv2.imwrite(f"labelmaps/{name}.png", classes[objects])
    Path("boxes.json").write_text(
        json.dumps({"cat.png": truth["shapes_1.png"], "dog.png": truth["shapes_2.png"]}), encoding="utf-8"
    )
    monkeypatch.setattr(base, "METRICS", registry := dict(METRICS))
    monkeypatch.setattr(lookup, "METRICS", registry)  # the page registers one more
    assert {words[1] for words in follow("evaluate.md", onnxcam)} == {"evaluate"}
    assert Path("out/curves.pdf").is_file()
    (row,) = json.loads(Path("spread/evaluation.json").read_text("utf-8"))["summary"]
    assert row["metric"] == "spread"


def test_the_page_has_every_metric_and_setting() -> None:
    page = (Path(__file__).parents[2] / "docs" / "evaluate.md").read_text("utf-8")
    for id, thing in all_metrics().items():
        assert f"| `{id}` | {'↑' if thing.higher else '↓'} |" in page


def test_a_long_run_says_how_many_runs_it_takes(onnxcam: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "MANY", 10)
    words = "evaluate", SHAPES, PICTURE, "--overwrite", "--metric"
    said = onnxcam(*words, "deletion", "--set", "deletion.steps=10").err
    assert said.count("about 10 runs of the network for each map, and 1 map; --metric") == 1
    assert "runs of the network" not in onnxcam(*words, "sparseness").err
