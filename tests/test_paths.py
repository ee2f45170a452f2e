"""Paths that are read: what lies there is found without surprises, and nothing that could hang is opened."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from onnxcam import paths
from onnxcam.errors import ImageError, TargetError
from onnxcam.media import image_files
from onnxcam.metadata import sidecar as companions
from onnxcam.metadata.literals import literal
from onnxcam.text import in_message


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with images, also in a folder in it, as the place where one is."""
    for name in ("a.png", "b.JPG", "in/c.png", ".hidden.png", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(*sources: str) -> str:
    with pytest.raises(ImageError) as caught:
        image_files.files(sources)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_name_in_a_message_is_short_and_visible() -> None:
    assert in_message(Path("a\u202egpj.exe")) == r"a\u202egpj.exe"
    assert in_message("a" * 200) == "a" * 200
    assert in_message("a" * 300 + "b.png") == "a" * 132 + "…" + "a" * 62 + "b.png"


def test_what_lies_at_a_path(photos: Path) -> None:
    os.mkfifo("pipe")
    os.symlink("loop", "loop")
    names = ["a.png", "in", "pipe", "/dev/zero", "gone", "loop", "x" * 5000, "nul\0", "a.png/b", "\udce9.png"]
    kinds = ["file", "folder", "special", "special", *["missing"] * 6]
    assert [paths.kind(name) for name in names] == kinds


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone", "gone: no such file; check the name"),
        ("x" * 5000, "cannot be read (File name too long); check the name"),
        ("nul\0", "cannot be read (embedded null byte); check the name"),
        ("in", "in: is a folder, not a list; name a file in it"),
        ("pipe", "pipe: is a pipe, not a list; give a file"),
        ("socket", "socket: is a socket, not a list; give a file"),
        ("/dev/zero", "/dev/zero: is a device, not a list; give a file"),
        ("a.png", "a.png: the list is above the limit of 4 bytes; give a smaller one"),
        ("latin", "latin: the list is not text in UTF-8; save it as that"),
        ("loop", "loop: cannot be read (Too many levels of symbolic links); check the name"),
    ],
)
def test_what_is_no_file_to_read(photos: Path, name: str, said: str) -> None:
    os.mkfifo("pipe")
    os.symlink("loop", "loop")
    Path("a.png").write_bytes(b"12345")
    Path("latin").write_bytes(b"\xe9")
    with socket.socket(socket.AF_UNIX) as open_socket:
        open_socket.bind("socket")
        with pytest.raises(TargetError) as caught:
            paths.read_text(name, TargetError, "list", 4)
    assert str(caught.value).endswith(said)
    assert len(str(caught.value)) < 300


def test_a_file_that_may_not_be_read(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ImageError, match=r"cannot be read .Permission denied.; check the file's permissions"):
        paths.read_bytes("a.png", ImageError)


def test_text_without_its_mark(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("käse", "utf-8-sig")
    assert paths.read_text(tmp_path / "text", ImageError) == "käse"


def test_a_folder_and_patterns(photos: Path) -> None:
    assert image_files.files(["."]) == [".hidden.png", "a.png", "b.JPG", "in/c.png"]
    assert image_files.files(["*.png", "in/*"]) == ["a.png", "in/c.png"]
    assert image_files.files(["**/*.png"]) == ["a.png", "in/c.png"]
    assert image_files.files(["**/**/*.png"]) == ["a.png", "in/c.png"]
    assert image_files.files([f"{photos}/**/c*"]) == [f"{photos}/in/c.png"]
    assert image_files.files(["i?/**"]) == ["in/c.png"]
    assert image_files.files([".h*"]) == [".hidden.png"]


def test_files_of_a_folder_that_cannot_be_read_are_named(photos: Path) -> None:
    for name in ("d.heic", "e.gif", "._a.png", ".DS_Store"):
        Path(name).write_bytes(b"")
    os.symlink("nowhere", "f.png")
    assert image_files.files(["."]) == [".hidden.png", "a.png", "b.JPG", "d.heic", "e.gif", "f.png", "in/c.png"]


def test_folders_that_links_lead_to_for_ever(photos: Path) -> None:
    for name in "xyz":
        os.symlink(".", name)
    assert image_files.files(["**/*.png"]) == ["a.png", "in/c.png"]
    assert image_files.files(["*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/c.png"])[0].endswith("in/c.png")
    assert len(image_files.files(["."])) == 4


def test_a_list_beside_its_pictures(photos: Path) -> None:
    Path("in/list.txt").write_text("c.png\n\n  a.png\ngone.png\n", encoding="utf-8")
    assert image_files.files(["@in/list.txt"]) == ["in/c.png", "a.png", "gone.png"]
    Path("lists.txt").write_text("in/list.txt\n@in/list.txt\n", encoding="utf-8")
    assert len(image_files.files(["lists.txt"])) == 6


def test_a_list_that_names_itself(photos: Path) -> None:
    Path("one.txt").write_text("@one.txt\n", encoding="utf-8")
    assert refusal("one.txt") == "one.txt: the list names itself, or a list that names it; take that line out"
    Path("one.txt").write_text("in/two.txt\n", encoding="utf-8")
    Path("in/two.txt").write_text("a.png\n../one.txt\n", encoding="utf-8")
    os.symlink(".", "here")
    assert "the list names itself" in refusal("@here/one.txt")


def test_lists_of_lists_are_read_once(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        Path(f"{number}.txt").write_text(f"{number + 1}.txt\n" * 10, encoding="utf-8")
    Path("12.txt").write_text("a.png\n", encoding="utf-8")
    monkeypatch.setattr(image_files, "MAX_FILES", 10**4)
    assert refusal("0.txt") == "7.txt: more than 10000 images are named; name fewer at a time"
    assert len(image_files.files(["9.txt"])) == 1000
    Path("12.txt").write_text("", encoding="utf-8")
    assert "no image is named" in refusal("0.txt")


def test_lists_too_deep(photos: Path) -> None:
    for number in range(30):
        Path(f"{number}.txt").write_text(f"{number + 1}.txt\n" * 3, encoding="utf-8")
    assert refusal("0.txt") == "16.txt: lists name lists more than 16 deep; put the names into one list"


def test_more_files_than_are_taken(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "MAX_FILES", 1)
    for source in (".", "*"):
        assert refusal(source) == f"{source}: more than 1 images are named; name fewer at a time"


def test_a_list_that_is_no_file(photos: Path) -> None:
    os.mkfifo("pipe.txt")
    assert refusal("pipe.txt") == "pipe.txt: is a pipe, not an image or list; give a file"
    assert refusal("@pipe.txt") == "pipe.txt: is a pipe, not a list of images; give a file"
    assert refusal("@gone.txt") == "gone.txt: no such file; check the name"
    assert "no such file or folder" in refusal("x" * 5000)
    assert "no file is called like this" in refusal("x" * 5000 + "*")
    assert "no such file or folder" in refusal("nul\0.png")
    Path("odd.txt").write_text("x" * 5000 + "\n", encoding="utf-8")
    assert image_files.files(["odd.txt"]) == ["x" * 5000]
    Path("odd.txt").write_text("nul\0.png\n", encoding="utf-8")
    assert refusal("odd.txt") == "odd.txt: is no list of images, which is text with a file name a line"


def test_a_companion_that_is_no_file(photos: Path) -> None:
    os.mkfifo("config.json")
    assert companions.beside(photos / "model.onnx", "config.json") == {}
    Path("in/config.json").write_text('{"a": 1}', encoding="utf-8")
    assert companions.beside(photos / "in" / "model.onnx", "config.json") == {"a": 1}


@pytest.mark.parametrize("text", ["-" * 100000 + "1", "(" * 1000, "f()", "9" * 5000, "\0", "[" * 3_000_000])
def test_literals_that_are_none(text: str) -> None:
    assert literal(text) is None
