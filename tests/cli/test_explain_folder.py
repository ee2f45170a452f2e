"""Explaining a folder: what is written by default and on request, while it runs, after a signal, after a resumption."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcam import Explainer
from onnxcam.errors import OnnxcamError, OutputError
from onnxcam.explainer.manifest import Folder
from onnxcam.explainer.many import explain_images, identity
from onnxcam.media import image
from tests.cli.test_cli import PICTURE, SHAPES, Run


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """Six images of one name in two folders, and others."""
    whole = image.read(PICTURE)
    for number, name in enumerate(("a/x", "a/y", "a/z", "b/x", "b/y", "b/z")):
        path = tmp_path / "photos" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.write(path, np.roll(whole, 5 * number, axis=1))
    return sorted(f"photos/{folder}/{name}.png" for folder in "ab" for name in "xyz")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def names(folder: str) -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


@pytest.mark.parametrize(
    ("words", "suffixes"),
    [
        ((), {"-raw.npy", "-overlay.jpg"}),
        (("--maps", "raw"), {"-raw.npy"}),
        (("--maps", "all", "--format", "png"), {"-raw.npy", "-map.npy", "-overlay.png"}),
        (("--format", "webp", "--quality", 50), {"-raw.npy", "-overlay.webp"}),
    ],
)
def test_what_is_written(onnxcam: Run, photos: list[str], words: tuple[Any, ...], suffixes: set[str]) -> None:
    ran = onnxcam("explain", SHAPES, "photos", "-t", 0, "-o", "out", *words)
    assert ran.code == 0, ran.err
    stems = ("x", "x-2", "y", "y-2", "z", "z-2")
    assert names("out") == {"manifest.json", *(f"{stem}-0-gradcam{end}" for stem in stems for end in suffixes)}
    entries = json.loads(Path("out/manifest.json").read_text(encoding="utf-8"))
    assert [entry["image"] for entry in entries] == photos
    kinds = {"-raw.npy": "raw", "-map.npy": "map"}
    explainer = Explainer(SHAPES)
    for entry in entries:
        found = explainer(entry["image"], 0)
        assert {kind for kind in ("raw", "map", "overlay") if entry[kind] is not None} == {
            kinds.get(end, "overlay") for end in suffixes
        }
        np.testing.assert_array_equal(np.load(entry["raw"]), found.raw)
        if "-map.npy" in suffixes:
            np.testing.assert_array_equal(np.load(entry["map"]), found.map)
        if "-overlay.png" in suffixes:
            np.testing.assert_array_equal(image.read(entry["overlay"]), found.overlay())
        elif entry["overlay"] is not None:
            drawn = image.read(entry["overlay"]).astype(int)
            assert np.abs(drawn - found.overlay()).mean() < 6
        boxes = None if words == ("--maps", "raw") else [list(box) for box in found.boxes()]
        assert entry["boxes"] == boxes
        assert entry["box"] == (boxes[0] if boxes else None)
    assert [line.split("\t")[0] for line in ran.out.splitlines()[1:]] == photos


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--maps", "every"), "no maps is called 'every'; there are raw, overlay, all."),
        (("--format", "pgn"), "no format is called 'pgn'; there are jpeg, png, webp. Did you mean 'png'"),
        (("--quality", 0), "Invalid value for '--quality'"),
        (("--colormap", "jut"), "no colormap is called 'jut'"),
        (("--opacity", "half"), "--opacity takes value, or a number from 0 to 1, not 'half'"),
    ],
)
def test_a_wrong_choice_is_one_line_before_the_model_is_read(
    onnxcam: Run, photos: list[str], words: tuple[Any, ...], says: str
) -> None:
    ran = onnxcam("explain", "no.onnx", "photos", "-o", "out", *words)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert not Path("out").exists()


def test_python_writes_all_and_exactly_by_default() -> None:
    found = Explainer(SHAPES)(PICTURE, 0)
    paths = found.save("out", "x")
    assert {kind: path.name for kind, path in paths.items()} == {
        "map": "x-0-gradcam-map.npy",
        "raw": "x-0-gradcam-raw.npy",
        "overlay": "x-0-gradcam-overlay.png",
    }
    np.testing.assert_array_equal(np.load(paths["map"]), found.map)
    assert set(found.save("out", "x", maps="raw")) == {"raw"}
    with pytest.raises(OutputError, match="the quality is 101; it is a whole number from 1 to 100"):
        found.save("out", format="jpeg", quality=101)
    with pytest.raises(OutputError, match="no format is called 'gif'"):
        found.save("out", format="gif")  # type: ignore[arg-type]


def test_an_explanation_can_be_pickled_before_its_map_was_used() -> None:
    found = Explainer(SHAPES)(PICTURE, 0)
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.map, found.map)


def test_a_prepared_image_explains_as_its_file() -> None:
    explainer = Explainer(SHAPES)
    prepared = explainer.prepare(PICTURE)
    assert explainer.prepare(prepared) is prepared
    for count in (1, 3):
        for one, other in zip(
            explainer.each(prepared, f"top={count}"), explainer.each(PICTURE, f"top={count}"), strict=True
        ):
            np.testing.assert_array_equal(one.raw, other.raw)
            assert one.words == other.words


class Ended(BaseException):
    """The process is asked to end."""


def ending(after: int) -> Any:
    """Return a progress that ends the run before image number *after*."""

    def progress(numbers: Iterable[int], total: int) -> Iterator[int]:
        for number in numbers:
            if number == after:
                raise Ended
            yield number

    return progress


def run(explainer: Explainer, photos: list[str], out: str, overwrite: bool = False, **options: Any) -> Folder:
    """Explain *photos* for class 0 into *out*."""
    progress = options.pop("progress", lambda numbers, total: numbers)
    with Folder(out, identity=identity(explainer, ["0"], **options), overwrite=overwrite) as folder:
        explain_images(explainer, photos, ["0"], folder, progress=progress, **options)
    return folder


class Counted(Explainer):
    """An explainer that notes what it explains."""

    def each(self, image: Any, target: Any = None, inputs: Any = None) -> Any:
        vars(self).setdefault("noted", []).append(image)
        return super().each(image, target, inputs)


def count(photos: list[str], out: str, **options: Any) -> int:
    """Return how many images a run explains."""
    explainer = Counted(SHAPES)
    run(explainer, photos, out, **options)
    return len(vars(explainer).get("noted", []))


def times(folder: str) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in Path(folder).iterdir()}


def test_an_interrupted_run_keeps_what_is_whole_and_resumes(photos: list[str]) -> None:
    run(Explainer(SHAPES), photos, "whole")
    with pytest.raises(Ended):
        run(Explainer(SHAPES), photos, "out", progress=ending(4))
    kept = times("out")
    assert len(kept) == 4 * 2 + 1
    assert "journal.jsonl" in kept
    assert not [name for name in kept if name.startswith(".") or name == "manifest.json"]
    assert count(photos, "out") == 2
    assert names("out") == names("whole")
    after = times("out")
    assert {name: time for name, time in after.items() if name in kept} == {
        name: time for name, time in kept.items() if name != "journal.jsonl"
    }
    for name in names("whole"):
        first = (Path("whole") / name).read_bytes()
        assert (Path("out") / name).read_bytes() == first.replace(b"whole/", b"out/")


def test_a_changed_image_and_a_lost_file_are_done_again(photos: list[str]) -> None:
    with pytest.raises(Ended):
        run(Explainer(SHAPES), photos, "out", progress=ending(4))
    image.write(photos[0], image.read(PICTURE)[::-1])
    Path("out/y-0-gradcam-overlay.jpg").unlink()
    assert count(photos, "out") == 4
    run(Explainer(SHAPES), photos, "whole")
    assert names("out") == names("whole")
    assert Path("out/x-0-gradcam-raw.npy").read_bytes() == Path("whole/x-0-gradcam-raw.npy").read_bytes()


def test_a_run_with_other_options_says_what_differs(photos: list[str]) -> None:
    with pytest.raises(Ended):
        run(Explainer(SHAPES), photos, "out", opacity=0.5, progress=ending(2))
    before = times("out")
    with pytest.raises(OutputError) as caught:
        run(Explainer(SHAPES), photos, "out", opacity=0.3)
    assert str(caught.value) == (
        "'out/journal.jsonl' is the journal of another explanation: opacity was 0.5 and is 0.3; "
        "choose another folder with -o, or --overwrite it"
    )
    assert times("out") == before
    assert count(photos, "out", opacity=0.3, overwrite=True) == 6
    assert "journal.jsonl" not in names("out")


def test_a_changed_file_of_an_option_is_another_run(photos: list[str]) -> None:
    for target in ("like=q.npy", "like=p.png unlike=q.npy"):
        np.save("q.npy", np.zeros(3))
        first = identity(Explainer(SHAPES), [target])
        assert first == identity(Explainer(SHAPES), [target])
        np.save("q.npy", np.zeros(4))
        assert first != identity(Explainer(SHAPES), [target])
    assert first["model"] != identity(Explainer(SHAPES.read_bytes() + b""), ["0"])["targets"]


def test_what_is_no_journal_of_ours_stays(photos: list[str]) -> None:
    Path("out").mkdir()
    Path("out/journal.jsonl").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match=r"'out/journal\.jsonl' is no journal of an explanation"):
        run(Explainer(SHAPES), photos, "out")
    assert (names("out"), Path("out/journal.jsonl").read_text(encoding="utf-8")) == ({"journal.jsonl"}, "mine")


def test_only_one_run_writes_a_folder(photos: list[str]) -> None:
    explainer = Explainer(SHAPES)
    same = identity(explainer, ["0"])
    with (
        Folder("out", identity=same),
        pytest.raises(OutputError, match=r"another run writes 'out/journal.jsonl'; wait until it ends"),
        Folder("out", identity=same),
    ):
        pass


def test_results_are_visible_while_it_runs_and_the_manifest_lists_what_is_not_replaced(photos: list[str]) -> None:
    run(Explainer(SHAPES), photos[:2], "out")
    seen: list[set[str]] = []
    manifests: list[list[dict[str, object]]] = []

    def both_are_written() -> bool:  # in any order: two threads write
        return (
            "z-0-gradcam-overlay.jpg" in names("out")
            and len(json.loads(Path("out/manifest.json").read_text(encoding="utf-8"))) == 1
        )

    def progress(numbers: Iterable[int], total: int) -> Iterator[int]:
        for number in numbers:
            end = time.monotonic() + 20
            while number == 2 and not both_are_written() and time.monotonic() < end:
                time.sleep(0.01)
            seen.append(names("out"))
            manifests.append(json.loads(Path("out/manifest.json").read_text(encoding="utf-8")))
            yield number

    assert "manifest.json" in names("out")
    run(Explainer(SHAPES), photos[1:4], "out", progress=progress)
    assert "z-0-gradcam-overlay.jpg" in seen[2]
    assert [entry["image"] for entry in manifests[2]] == photos[:1]
    assert len(json.loads(Path("out/manifest.json").read_text(encoding="utf-8"))) == 4


def test_a_failing_run_with_nothing_whole_leaves_nothing(photos: list[str]) -> None:
    for path in photos:
        Path(path).write_bytes(b"no image")
    with pytest.raises(OnnxcamError, match=r"no image of 6 was explained; the first: photos/a/x\.png: "):
        run(Explainer(SHAPES), photos, "out")
    assert not Path("out").exists()


def test_an_image_that_failed_is_tried_again(photos: list[str]) -> None:
    good = Path(photos[1]).read_bytes()
    Path(photos[1]).write_bytes(b"no image")
    with pytest.raises(Ended):
        run(Explainer(SHAPES), photos, "out", progress=ending(3))
    Path(photos[1]).write_bytes(good)
    assert count(photos, "out") == 4
    assert all("error" not in entry for entry in json.loads(Path("out/manifest.json").read_text(encoding="utf-8")))


def test_a_full_disk_keeps_the_images_before(photos: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    write, written = Path.write_bytes, []

    def limited(path: Path, data: bytes) -> int:
        written.append(path)
        if len(written) > 7:
            raise OSError(28, "No space left on device")
        return write(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", limited)
        with pytest.raises(OutputError) as caught:
            run(Explainer(SHAPES), photos, "out")
    text = str(caught.value)
    assert text.startswith("cannot write 'out/")
    assert "No space left on device" in text
    whole = len(names("out")) - 1
    assert whole % 2 == 0
    assert f"; {whole // 2} of 6 images are done and kept in 'out': repeat the command to resume" in text
    assert not [name for name in names("out") if name.startswith(".")]


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals on Windows")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_keeps_what_is_whole(onnxcam: Run, photos: list[str], number: signal.Signals, code: int) -> None:
    words = ["explain", SHAPES, "photos", "-t", 0, "-m", "occlusion", "--set", "stride=0.08", "-o", "out"]
    call = [sys.executable, "-c", "from onnxcam.cli import main; main()", *map(str, words)]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        while running.poll() is None and not list(Path().glob("out/*-overlay.jpg")):
            time.sleep(0.01)
        running.send_signal(number)
        _, said = running.communicate(timeout=60)
    assert (running.returncode, said) == (code, "")
    kept = times("out")
    done = len([name for name in kept if name.endswith("-overlay.jpg")])
    assert 1 <= done < 6
    assert len(kept) == 2 * done + 1
    ran = onnxcam(*words)
    assert ran.code == 0, ran.err
    after = times("out")
    assert len(after) == 6 * 2 + 1
    assert {name for name in kept if after.get(name) == kept[name]} == kept.keys() - {"journal.jsonl"}
