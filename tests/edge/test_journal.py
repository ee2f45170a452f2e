"""The journal: what goes in comes out, in the order of the pictures, and half a line is no line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pytest

from onnxcam.edge.journal import Journal
from onnxcam.errors import OutputError
from tests.edge.validations import pair

IDENTITY = {"reference sha256": "aa", "pictures": "3 (cc)", "truth": None}


def equal(one: object, other: object) -> bool:
    return all(
        all(np.array_equal(a, b) for a, b in zip(value, getattr(other, name), strict=True))
        if name == "maps"
        else value == getattr(other, name)
        for name, value in vars(one).items()
    )


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
from onnxcam.edge.journal import Journal
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


@pytest.mark.parametrize("content", [b"hello\n", b'{"a": 1}\n', b"[1]\n"])
def test_another_file_of_that_name_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(content)
    with pytest.raises(OutputError, match="is no journal of a validation; choose another folder with -o"):
        Journal(path, IDENTITY)
    assert path.read_bytes() == content


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written: No such file or directory; choose another -o"):
        Journal(tmp_path / "none" / "journal.jsonl", IDENTITY)
