"""validate in shards: the merged result is that of one run, and a set that is not one run's is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from onnxcam.compare.merge import merge_validations
from onnxcam.compare.report.folder import JUNIT, PAGE, RESULT
from onnxcam.compare.validate import validate
from onnxcam.compare.validate_shard import validate_shard
from onnxcam.compare.validation import Validation
from onnxcam.errors import ImageError, MetricError, OnnxcamError, OutputError
from onnxcam.shard_results import shard_kind
from onnxcam.shards import Shard, common_root, picture_ids
from tests.command import Ran
from tests.compare.tasks.twins import MODELS, drawn, rounded
from tests.compare.twins import SHAPES, noisy, photos
from tests.runtime import new_runtime

COUNT = 3
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noisy(tmp_path_factory.mktemp("models") / "candidate.onnx", 0.2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, two of which cannot be read."""
    made = photos(tmp_path_factory.mktemp("shards") / "photos", 14)
    for name in ("00003a.png", "00009a.png"):
        (made / name).write_bytes(b"no image")
    return made


def shards_of(models: Sequence[Path], images: Path, place: Path, **options: Any) -> list[Path]:
    folders = [place / f"shard{index}" for index in range(COUNT)]
    for index, one in enumerate(folders):
        validate_shard(*models, images, one, f"{index}/{COUNT}", **options)
    return folders


def reports(found: Validation, place: Path) -> dict[str, bytes]:
    found.save(place)
    return {name: (place / name).read_bytes() for name in (RESULT, PAGE, JUNIT)}


def assert_equal_to_one_run(models: Sequence[Path], images: Path, place: Path, **options: Any) -> None:
    whole = validate(*models, images, place / "whole", **options)
    folders = shards_of(models, images, place, **options)
    merged = merge_validations(folders[::-1], place / "merged")
    assert whole.verdict == merged.verdict
    assert reports(merged, place / "merged") == reports(whole, place / "whole")


@pytest.fixture(scope="module")
def done(candidate: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The shards of a classifier."""
    return shards_of((SHAPES, candidate), folder, tmp_path_factory.mktemp("done"), batch_size=2)


@pytest.mark.parametrize("options", [{}, {"layers": True, "require": "iou>=0.9"}, {"preprocess": "unit"}])
def test_a_classifier_in_shards(options: Mapping[str, Any], candidate: Path, folder: Path, tmp_path: Path) -> None:
    assert_equal_to_one_run((SHAPES, candidate), folder, tmp_path, batch_size=2, **options)


@pytest.mark.parametrize("name", ["detector", "segmenter", "embedder"])
def test_other_tasks_in_shards(name: str, tmp_path: Path) -> None:
    model = MODELS / f"{name}.onnx"
    pictures = drawn(tmp_path / "pictures", count=7)
    assert_equal_to_one_run((model, rounded(model, tmp_path / "rounded.onnx", 20)), pictures, tmp_path, batch_size=2)


@new_runtime  # an older quantiser does not infer the shapes of this file
def test_what_depends_on_the_batch_in_shards(folder: Path, tmp_path: Path) -> None:
    """Dynamic quantisation takes its scales from all images of a batch, so that a shard takes whole batches."""
    quantization = pytest.importorskip("onnxruntime.quantization", reason="onnxruntime cannot quantise here")
    import onnx

    dynamic = tmp_path / "dynamic.onnx"
    quantization.quantize_dynamic(SHAPES, dynamic)
    model = onnx.load(dynamic)
    del model.metadata_props[:]
    model.metadata_props.extend(onnx.load(SHAPES).metadata_props)
    onnx.save(model, dynamic)
    found = [validate(SHAPES, dynamic, folder, batch_size=size) for size in (2, 5)]
    assert found[0].summaries["iou"].mean != found[1].summaries["iou"].mean
    assert_equal_to_one_run((SHAPES, dynamic), folder, tmp_path, batch_size=2)


def test_a_verdict_in_doubt_in_shards(tmp_path: Path, folder: Path) -> None:
    """Two models without a card: the guessed preprocessing decides, which the first shard has tried."""
    import onnx

    bare = []
    for name, share in (("reference", 0.0), ("candidate", 0.6)):
        model = onnx.load(noisy(tmp_path / f"{name}.onnx", share))
        del model.metadata_props[:]
        onnx.save(model, tmp_path / f"{name}.onnx")
        bare.append(tmp_path / f"{name}.onnx")
    assert_equal_to_one_run(bare, folder, tmp_path, batch_size=2, require="pearson>=0.5")


def test_inputs_that_differ_in_shards(candidate: Path, folder: Path, tmp_path: Path) -> None:
    from onnxcam.compare.observer import Observer

    models: Any = (Observer(SHAPES), Observer(candidate, preprocess="raw"))
    assert_equal_to_one_run(models, folder, tmp_path, batch_size=2)
    assert "get different inputs" in json.loads((tmp_path / "merged" / RESULT).read_text())["doubt"]


def place_of(folder: Path, place: Path, names: str = "image,label") -> tuple[Path, Path]:
    """Copy the images of *folder* to *place*, and write a truth beside them."""
    images = Path(shutil.copytree(folder, place / "val"))
    rows = [f"{path.name},{'circle' if at % 2 else 'star'}" for at, path in enumerate(sorted(folder.iterdir()))]
    (place / "truth.csv").write_text("\n".join([names, *rows]) + "\n")
    return images, place / "truth.csv"


def test_images_and_truth_in_another_folder_for_each_shard(candidate: Path, folder: Path, tmp_path: Path) -> None:
    places = [place_of(folder, tmp_path / name) for name in ("mnt/a", "data", "c")]
    whole = validate(SHAPES, candidate, places[0][0], tmp_path / "whole", batch_size=4, truth=places[0][1])
    shards = [tmp_path / f"shard{index}" for index in range(COUNT)]
    for index, (images, truth) in enumerate(places):
        validate_shard(SHAPES, candidate, images, shards[index], f"{index}/{COUNT}", batch_size=4, truth=truth)
    merged = merge_validations(shards, tmp_path / "merged")
    assert reports(merged, tmp_path / "merged") == reports(whole, tmp_path / "whole")
    assert {Path(one).parent for one, _ in merged.unreadable} == {places[0][0]}

    def again(images: Path, truth: Path) -> None:
        options: dict[str, Any] = {"batch_size": 4, "truth": truth, "overwrite": True}
        validate_shard(SHAPES, candidate, images, shards[2], "2/3", **options)

    images, truth = place_of(folder, tmp_path / "other", "image,class")
    again(places[2][0], truth)
    with pytest.raises(OutputError, match=r"is a shard of another run than .* \(other truth\); merge the shards of"):
        merge_validations(shards, tmp_path / "no")
    with (images / "00001.png").open("ab") as file:
        file.write(b"more")
    again(images, places[2][1])
    with pytest.raises(OutputError, match=r"is a shard of another run than .* \(other pictures\); merge the shards of"):
        merge_validations(shards, tmp_path / "no")


def test_each_image_is_in_one_shard(folder: Path) -> None:
    ids = picture_ids([f"photos/{number}.png" for number in range(1000)])
    blocks = [Shard(index, 7).blocks(ids, 8) for index in range(7)]
    assert sorted(number for own in blocks for block in own for number in block) == list(range(1000))
    assert all(8 < len(own) < 30 for own in blocks)
    assert [block.start for own in blocks for block in own if block.start % 8] == []
    assert Shard().blocks(ids, 300) == [range(300), range(300, 600), range(600, 900), range(900, 1000)]


def test_ids_do_not_depend_on_where_the_images_are(tmp_path: Path) -> None:
    here, there = (picture_ids([root / "a.png", root / "cats" / "b.png"]) for root in (tmp_path, Path("photos")))
    assert here == there == ["a.png", "cats/b.png"]
    assert common_root(["photos/a.png", "photos/cats/b.png"]) == "photos/"
    assert common_root(["photos/a.png", f"{os.getcwd()}/photos/b.png"]) is None


def test_a_shard_without_images_is_complete(candidate: Path, tmp_path: Path) -> None:
    pictures = photos(tmp_path / "photos", 1)
    folders = shards_of((SHAPES, candidate), pictures, tmp_path)
    found = merge_validations(folders, tmp_path / "merged")
    assert len(found.journal) == 1
    (pictures / "00000.png").write_bytes(b"no image")
    folders = shards_of((SHAPES, candidate), pictures, tmp_path, overwrite=True)
    with pytest.raises(ImageError, match="none of the 1 images could be read; the first: "):
        merge_validations(folders, tmp_path / "none")


def test_a_complete_shard_is_not_compared_again(done: list[Path], candidate: Path, folder: Path) -> None:
    before = (done[1] / "journal.jsonl").read_bytes()
    again = validate_shard(SHAPES, candidate, folder, done[1], "1/3", batch_size=2)
    assert (done[1] / "journal.jsonl").read_bytes() == before
    assert again.pictures == again.as_dict()["pictures"] > 0


def copied(done: Sequence[Path], place: Path) -> list[Path]:
    return [Path(shutil.copytree(one, place / one.name)) for one in done]


def _other(options: Mapping[str, Any]) -> Callable[..., list[Path]]:
    def make(own: list[Path], candidate: Path, folder: Path, place: Path) -> list[Path]:
        given = {"batch_size": 2, **options}
        validate_shard(SHAPES, given.pop("candidate", candidate), folder, own[2], "2/3", overwrite=True, **given)
        return own

    return make


def _without(index: int) -> Callable[..., list[Path]]:
    return lambda own, *_: [one for at, one in enumerate(own) if at != index]


def _incomplete(own: list[Path], *_: Path) -> list[Path]:
    (own[1] / "shard.json").unlink()
    return own


def _damaged_marker(own: list[Path], *_: Path) -> list[Path]:
    (own[1] / "shard.json").write_text('{"onnxcam": "0"}')
    return own


def _damaged_line(own: list[Path], *_: Path) -> list[Path]:
    data = (own[1] / "journal.jsonl").read_bytes()
    (own[1] / "journal.jsonl").write_bytes(data[:-30] + b"x" + data[-29:])
    return own


def _lost_line(own: list[Path], *_: Path) -> list[Path]:
    lines = (own[1] / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (own[1] / "journal.jsonl").write_bytes(b"".join(lines[:-1]))
    return own


def _double_line(own: list[Path], *_: Path) -> list[Path]:
    lines = (own[1] / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (own[1] / "journal.jsonl").write_bytes(b"".join([*lines, lines[-1]]))
    return own


def _swapped_journal(own: list[Path], *_: Path) -> list[Path]:
    shutil.copy(own[0] / "journal.jsonl", own[1] / "journal.jsonl")
    return own


def _no_journal(own: list[Path], *_: Path) -> list[Path]:
    (own[1] / "journal.jsonl").unlink()
    return own


def _fourth(own: list[Path], candidate: Path, folder: Path, place: Path) -> list[Path]:
    validate_shard(SHAPES, candidate, folder, own[2], "2/4", overwrite=True, batch_size=2)
    return own


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without(1), "shard 1/3 is missing; run it, and name its folder too"),
        (lambda own, *_: [*own, own[1]], r"shard 1/3 is there twice, in '.*shard1' and in '.*shard1'; name each shard"),
        (lambda *_: [], "no folder is named; name the folders of all shards"),
        (_incomplete, r"shard1' holds a shard that is not complete; repeat the command of that shard"),
        (lambda own, _, folder, __: [*own[:2], folder], "photos' holds no shard; name a folder of one"),
        (_damaged_marker, r"shard.json' is damaged, or of another version of onnxcam; repeat the command of that"),
        (_damaged_line, r"journal.jsonl': line \d+ is damaged; repeat its command"),
        (_lost_line, r"1 of 16 entries are missing, the first is that of image \d+; run the shards again"),
        (_double_line, r"entry \d+ in the journal of shard 1/3 is there twice; repeat the command of that shard"),
        (_swapped_journal, r"journal.jsonl' is not the journal of the 'shard.json' beside it; repeat the command"),
        (_no_journal, r"journal.jsonl' cannot be read: No such file or directory; repeat its command"),
        (_fourth, r"shard2' is a shard of another run than '.*shard0' \(other number of shards\); merge the shards of"),
        (_other({"candidate": SHAPES}), r"another run than .* \(other candidate sha256, candidate\); merge"),
        (_other({"method": "eigencam"}), r"\(other .*reference method.*\); merge the shards of one run"),
        (_other({"preprocess": "raw"}), r"\(other .*reference preprocess.*\); merge the shards of one run"),
        (_other({"require": "iou>=0.61"}), r"\(other requirements\); merge the shards of one run"),
        (_other({"batch_size": 4}), r"\(other batch size\); merge the shards of one run"),
        (_other({"layers": True}), r"\(other layers\); merge the shards of one run"),
    ],
)
def test_what_is_no_whole_run_is_refused(
    change: Callable[..., list[Path]], message: str, done: list[Path], candidate: Path, folder: Path, tmp_path: Path
) -> None:
    folders = change(copied(done, tmp_path), candidate, folder, tmp_path)
    with pytest.raises(OutputError, match=message):
        merge_validations(folders, tmp_path / "merged")
    assert not (tmp_path / "merged" / RESULT).exists()


def test_the_merged_folder_is_no_shard_and_not_finished(done: list[Path], tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="shard0' is read by this command; choose another folder with -o"):
        merge_validations(done, done[0], overwrite=True)
    merge_validations(done, tmp_path / "merged").save(tmp_path / "merged")
    with pytest.raises(OutputError, match="holds a finished validation; choose another folder"):
        merge_validations(done, tmp_path / "merged")


def test_a_merge_is_taken_up_and_its_journal_is_that_of_the_whole_run(
    done: list[Path], candidate: Path, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match="1 of 16 entries are missing"):
        merge_validations(_lost_line(copied(done, tmp_path)), tmp_path / "merged")
    expected = reports(merge_validations(done, tmp_path / "merged"), tmp_path / "merged")
    (tmp_path / "merged" / RESULT).unlink()
    assert (
        reports(validate(SHAPES, candidate, folder, tmp_path / "merged", batch_size=2), tmp_path / "merged") == expected
    )


def test_the_kind_of_a_folder(done: list[Path], tmp_path: Path) -> None:
    assert shard_kind(done[0]) == "validation"
    assert shard_kind(tmp_path) is None
    assert shard_kind("s3://bucket/folder") is None
    with pytest.raises(OutputError, match="holds a shard that is not complete"):
        shard_kind(_incomplete(copied(done, tmp_path))[1])


def test_a_folder_belongs_to_one_shard(done: list[Path], candidate: Path, folder: Path) -> None:
    with pytest.raises(OutputError, match="is the journal of another validation: shard was '1/3' and is '0/3'; choose"):
        validate_shard(SHAPES, candidate, folder, done[1], "0/3", batch_size=2)


@pytest.mark.parametrize("text", ["3/3", "a/3", "1", "-1/3"])
def test_what_is_no_shard(text: str, tmp_path: Path) -> None:
    with pytest.raises(OnnxcamError, match="is no shard; it is i/n, i from 0 to n-1, such as 0/8"):
        validate_shard(SHAPES, SHAPES, tmp_path, tmp_path / "out", text)


def test_layers_of_a_detector_are_refused_at_once(tmp_path: Path) -> None:
    detector = MODELS / "detector.onnx"
    with pytest.raises(MetricError, match="--layers"):
        validate_shard(detector, detector, drawn(tmp_path / "p", count=1), tmp_path / "out", "0/2", layers=True)


def test_the_command(candidate: Path, folder: Path, tmp_path: Path, onnxcam: Callable[..., Ran]) -> None:
    words = ("validate", SHAPES, candidate, folder, "--batch-size", "2", "--shard")
    ran = onnxcam(*words, "1/3", "-o", tmp_path / "out")
    assert ran.code == 0
    assert "shard 1/3 is complete; `onnxcam merge` joins all shards" in ran.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["journal.jsonl", "shard.json"]
    assert json.loads(onnxcam(*words, "1/3", "-o", tmp_path / "out", "--json").out)["shard"] == "1/3"
    ran = onnxcam(*words, "1/3", "-o", tmp_path / "out", "--why")
    assert ran.code == 2
    assert "--why needs the worst of all images; leave it out, merge the shards" in ran.err


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
def test_a_killed_shard_resumes(candidate: Path, folder: Path, tmp_path: Path, done: list[Path]) -> None:
    out = tmp_path / "killed"
    words = [
        "validate",
        str(SHAPES),
        str(candidate),
        str(folder),
        "--shard",
        "1/3",
        "--batch-size",
        "2",
        "-o",
        str(out),
    ]
    slow = (
        "import time; from onnxcam.compare import journal; add = journal.Journal.add; "
        "journal.Journal.add = lambda *given: (add(*given), time.sleep(60)); "
        "from onnxcam.cli import main; main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", slow, *map(str, words)], env=environment)
    until = time.monotonic() + 120
    while time.monotonic() < until and (
        not (out / "journal.jsonl").exists() or (out / "journal.jsonl").read_bytes().count(b"\n") < 2
    ):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    folders = [done[0], out, done[2]]
    with pytest.raises(OutputError, match="holds a shard that is not complete"):
        merge_validations(folders, tmp_path / "merged")
    validate_shard(SHAPES, candidate, folder, out, "1/3", batch_size=2)
    resumed, whole = (
        reports(merge_validations(of, tmp_path / name), tmp_path / name)
        for of, name in ((folders, "merged"), (done, "whole"))
    )
    assert resumed == whole
