"""The journal: what goes in comes out, in the order of the images; half a line and a damaged one are done again."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from pathlib import Path
from subprocess import PIPE
from typing import Any

import numpy as np
import pytest

from onnxcam import journal
from onnxcam.compare.device_runner import entry_of, line_of
from onnxcam.compare.image_comparison import ImageComparison
from onnxcam.compare.journal import Journal
from onnxcam.compare.map_comparison import ObjectComparison
from onnxcam.errors import OutputError
from tests.compare.recordings import room
from tests.compare.validations import pair

NAMES = [f"{number}.png" for number in range(3)]
IDENTITY = {"reference sha256": "aa", "pictures": "3 (cc)", "truth": None}


def equal(one: object, other: object) -> bool:
    """Whether two image comparisons are the same, maps included."""
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)  # type: ignore[arg-type]
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(equal, one, other))  # type: ignore[arg-type]
    if isinstance(one, ImageComparison | ObjectComparison):
        return all(equal(value, getattr(other, name)) for name, value in vars(one).items())
    return one == other


def stepped(picture: str) -> object:
    """A pair whose maps are in 255 steps, as `compare` makes them."""
    first = (np.round(255 * np.random.default_rng(0).random((4, 5))) / 255).astype(np.float16)
    return pair(picture, maps=(first, None), notes=("äöü ≥ \U0001f600",), confidence=(0.5, None))


def test_what_goes_in_comes_out_in_order(tmp_path: Path) -> None:
    pairs = [stepped(f"{name}\n\"'.png") for name in "abc"]
    journal = Journal(tmp_path / "journal.jsonl", IDENTITY)
    for number in (2, 0, 1):
        journal.add(number, pairs[number])  # type: ignore[arg-type]
    journal.release()
    for found in (journal, Journal(tmp_path / "journal.jsonl", IDENTITY)):
        assert len(found) == 3
        assert set(found.done) == {0, 1, 2}
        assert all(equal(a, b) for a, b in zip(found, pairs, strict=True))
        assert equal(found[-1], pairs[2])
        assert len(found[1:]) == 2
    journal.close()
    assert len((tmp_path / "journal.jsonl").read_bytes().splitlines()) == 4


def test_without_a_file() -> None:
    journal = Journal(None, IDENTITY)
    journal.add(0, stepped("a.png"))  # type: ignore[arg-type]
    assert equal(journal[0], stepped("a.png"))


def test_only_one_run_at_a_time_writes(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    code = f"""
from onnxcam.compare.device_runner import entry_of, line_of
from onnxcam.compare.journal import Journal
journal = Journal({str(path)!r}, {IDENTITY!r})
print("locked", flush=True)
input()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=PIPE, stdout=PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        before = path.read_bytes()
        for overwrite in (False, True):
            with pytest.raises(OutputError) as error:
                Journal(path, IDENTITY, overwrite=overwrite)
            expected = f"another run writes '{path}'; wait until it ends, or choose another folder with -o"
            assert str(error.value) == expected
        assert path.read_bytes() == before
        other.kill()
    journal = Journal(path, IDENTITY)
    journal.add(0, stepped("a.png"))  # type: ignore[arg-type]
    journal.release()
    assert len(Journal(path, IDENTITY)) == len(journal) == 1
    assert len(Journal(path, IDENTITY, overwrite=True)) == 0


@pytest.mark.parametrize("cut", [1, 20, 400])
def test_half_a_line_is_dropped_and_done_again(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, IDENTITY)
    for number in range(3):
        journal.add(number, stepped(f"{number}.png"))  # type: ignore[arg-type]
    journal.close()
    path.write_bytes(path.read_bytes()[:-cut])
    journal = Journal(path, IDENTITY)
    assert set(journal.done) == {0, 1}
    journal.add(2, stepped("2.png"))  # type: ignore[arg-type]
    journal.close()
    assert [one.picture for one in Journal(path, IDENTITY)] == ["0.png", "1.png", "2.png"]


def test_half_a_first_line_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"onnxcam.val')
    assert len(Journal(path, IDENTITY)) == 0
    assert len(Journal(path, IDENTITY)) == 0


def test_a_journal_of_something_else_says_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path, IDENTITY).close()
    with pytest.raises(OutputError) as caught:
        Journal(path, {**IDENTITY, "reference sha256": "bb"})
    assert str(caught.value) == (
        f"'{path}' is the journal of another validation: reference sha256 was 'aa' and is 'bb'; choose another folder "
        "with -o, or --overwrite it"
    )


def three(path: Path) -> bytes:
    """Write a journal of three images; return its bytes."""
    journal = Journal(path, IDENTITY, names=NAMES)
    for number, name in enumerate(NAMES):
        journal.add(number, stepped(name))  # type: ignore[arg-type]
    journal.close()
    return path.read_bytes()


def resumed(path: Path) -> tuple[list[str], int]:
    """Do again what is not done; return the warnings, and how many images that were. What is read is right."""
    journal = Journal(path, IDENTITY, names=NAMES)
    todo = [number for number in range(3) if number not in journal.done]
    for number in todo:
        journal.add(number, stepped(NAMES[number]))  # type: ignore[arg-type]
    assert all(equal(one, stepped(name)) for one, name in zip(journal, NAMES, strict=True))
    journal.close()
    again = Journal(path, IDENTITY, names=NAMES)
    assert (len(again), again.damaged) == (3, [])
    again.close()
    return journal.damaged, len(todo)


def test_no_flipped_bit_makes_other_numbers(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    whole = three(path)
    header = whole.index(b"\n") + 1
    for at in [*range(0, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        if at >= header:
            warnings, count = resumed(path)
            assert 1 <= count <= 2
            assert warnings or at == len(whole) - 1  # an end without an end of line is what a kill leaves
            assert all(
                warning.startswith(f"'{path}': line ") and "is damaged; its image is done again" in warning
                for warning in warnings
            )
        else:
            with pytest.raises(OutputError, match=r"journal.*choose another folder with -o, or --overwrite it"):
                Journal(path, IDENTITY, names=NAMES)


OBJECT = {
    "target": "#1",
    "index": 1,
    "scores": [0.5, None],
    "boxes": [[1, 2, 3, 4], None],
    "values": {"iou": 1.0},
    "notes": [],
    "maps": [None, None],
}


def test_the_entry_of_an_object_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(changed(three(path), {"objects": [OBJECT]}))
    journal = Journal(path, IDENTITY, names=NAMES)
    assert journal.damaged == []
    assert (journal[1].objects[0].target, journal[1].objects[0].boxes) == ("#1", ((1, 2, 3, 4), None))
    journal.close()


def changed(whole: bytes, change: dict[str, Any]) -> bytes:
    """Return a journal whose second image is told otherwise, and has the checksum of that."""
    first, one, two, last = whole.splitlines(True)
    seed = zlib.crc32(first)
    entry = {name: value for name, value in {**entry_of(two, seed), **change}.items() if value != "gone"}
    return first + one + line_of(entry, seed) + last


@pytest.mark.parametrize(
    "change",
    [
        {"number": 2},
        {"number": 999},
        {"number": -1},
        {"number": "1"},
        {"number": "gone"},
        {"picture": None},
        {"picture": "other.png"},
        {"size": [0, 0]},
        {"size": "gone"},
        {"answers": [1]},
        {"answers": [{"words": 1, "confidence": None, "data": {}}] * 2},
        {"answers": [{"words": "a", "confidence": "1", "data": {}}] * 2},
        {"answers": [{"words": "a", "confidence": None, "data": 3}] * 2},
        {"objects": {}},
        {"objects": [1]},
        {"objects": [{**OBJECT, "index": True}]},
        {"objects": [{**OBJECT, "index": -1}]},
        {"objects": [{**OBJECT, "scores": [1]}]},
        {"objects": [{**OBJECT, "scores": ["a", 1]}]},
        {"objects": [{**OBJECT, "boxes": [[1, 2, 3], None]}]},
        {"objects": [{**OBJECT, "values": {"no metric": 1}}]},
        {"values": []},
        {"values": {"no metric": 1}},
        {"values": {"iou": "1"}},
        {"notes": [1]},
        {"details": []},
        {"objects": [{**OBJECT, "maps": [None]}]},
        {"objects": [{**OBJECT, "maps": [{"shape": [4, 5], "zlib": "AAAA"}, None]}]},
        {"objects": [{**OBJECT, "maps": [{"shape": [10**9, 10**9], "zlib": ""}, None]}]},
        {"objects": [{**OBJECT, "maps": [{"shape": [4, 6]}, None]}]},
        {"objects": [{**OBJECT, "maps": [3, None]}]},
    ],
)
def test_a_line_of_another_kind_is_done_again(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(changed(three(path), change))
    assert resumed(path) == ([f"'{path}': line 3 is damaged; its image is done again"], 1)


def test_lines_that_belong_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    other = Journal(tmp_path / "other", {**IDENTITY, "reference sha256": "bb"})
    other.add(1, stepped("1.png"))  # type: ignore[arg-type]
    other.close()
    lines = three(path).splitlines(True)
    foreign = (tmp_path / "other").read_bytes().splitlines(True)[1]
    for inserted, warned, count in (
        (lines[1], 0, 0),
        (foreign, 1, 0),
        (b"\0" * 50 + b"\n", 1, 0),
        (b"\xff\xfe\n", 1, 0),
        (b"[" * 100_000 + b"\n", 1, 0),
        (b"\n", 0, 0),
    ):
        path.write_bytes(b"".join([*lines[:2], inserted, *lines[2:]]))
        warnings, done = resumed(path)
        assert (len(warnings), done) == (warned, count)


def test_a_journal_of_the_first_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(json.dumps({"onnxcam.validation": 1, **IDENTITY}) + "\n")
    with pytest.raises(OutputError) as caught:
        Journal(path, IDENTITY)
    assert str(caught.value) == (
        f"'{path}' is the journal of another version of onnxcam; choose another folder with -o, or --overwrite it"
    )
    assert len(Journal(path, IDENTITY, overwrite=True)) == 0


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    ends = [len(line) for line in three(path).splitlines(True)]
    path.unlink()
    journal = Journal(path, IDENTITY, names=NAMES)
    with room(sum(ends[:2]) + 20):
        journal.add(0, stepped("0.png"))  # type: ignore[arg-type]
        for number in (1, 2):
            with pytest.raises(OutputError, match="cannot be written: File too large; choose another -o"):
                journal.add(number, stepped(NAMES[number]))  # type: ignore[arg-type]
    journal.close()
    assert resumed(path) == ([], 2)


def test_a_line_that_changes_under_a_run(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    whole = three(path)
    journal = Journal(path, IDENTITY, names=NAMES)
    path.write_bytes(whole.replace(b"0.png", b"9.png"))
    with pytest.raises(OutputError, match="was changed while it was used; run the same command again"):
        list(journal)


@pytest.mark.parametrize("content", [b"hello\n", b'{"a": 1}\n', b"[1]\n"])
def test_another_file_of_that_name_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(content)
    with pytest.raises(OutputError, match="is no journal of a validation; choose another folder with -o"):
        Journal(path, IDENTITY)
    assert path.read_bytes() == content


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match=r"cannot write into '.*file'"):
        Journal(tmp_path / "file" / "journal.jsonl", IDENTITY)


def test_a_run_without_a_result_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out" / "journal.jsonl"
    Journal(path, IDENTITY).leave()
    assert not (tmp_path / "new").exists()
    journal = Journal(path, IDENTITY)
    journal.add(0, stepped("0.png"))  # type: ignore[arg-type]
    journal.leave()
    assert len(Journal(path, IDENTITY)) == 1
    Journal(path, IDENTITY).discard()
    assert not path.exists()


def test_the_runner_for_devices_writes_the_same_lines() -> None:
    entry = {"number": 3, "name": "äöü\n", "list": [1.5, None]}
    assert journal.line_of(entry, 7) == line_of(entry, 7)
    assert journal.entry_of(line_of(entry, 7), 7) == entry_of(journal.line_of(entry, 7), 7) == entry
