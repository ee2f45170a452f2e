"""Truth that is damaged, hostile or of other images: one line each, never a crash."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onnxcam import paths
from onnxcam.errors import OnnxcamError, TruthError
from onnxcam.metrics import Truth
from onnxcam.metrics.truth import source as reading
from tests.metrics import truth_files as made
from tests.metrics.truth_files import MAKERS, SIZE


@pytest.fixture
def _yaml() -> None:
    pytest.importorskip("yaml", reason="the extra onnxcam[truth] is not installed")


def refused(source: Path, picture: str = "img.jpg", **more: Any) -> str:
    """The message of the truth at *source*; masks are decoded."""
    with pytest.raises(TruthError) as error:
        Truth(source, **more).regions(picture, SIZE)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 700
    return str(error.value)


def with_annotation(**more: Any) -> dict[str, Any]:
    found = made.coco_object()
    found["annotations"] = [found["annotations"][0] | more]
    return found


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"bbox": [1, 2, 3]}, "annotation 1: [1, 2, 3] is no box [x, y, width, height]"),
        ({"bbox": [1, 2, "3", 4]}, "is no box [x, y, width, height]"),
        ({"bbox": [1, 2, -3, 4]}, "annotation 1: box [1, 2, -2, 6] is empty: x2 must be above x1"),
        ({"bbox": [1, 2, 30, 4]}, "box [1, 2, 31, 6] reaches out of the image of 10 × 8 pixels; was the image scaled?"),
        ({"bbox": [1, 2, 1e300, 4]}, "is no box"),
        ({"category_id": 5}, 'category 5 is not in "categories"'),
        ({"category_id": [5]}, 'category [5] is not in "categories"'),
        ({"segmentation": [[1, 2, 3, 4]]}, "[1, 2, 3, 4] is no polygon [x1, y1, x2, y2, x3, y3, …]"),
        ({"segmentation": [[1, 2, 3, 4, 500, 6]]}, "reaches out of the image"),
        ({"segmentation": [[0] * 300000]}, "a polygon of 150000 points; the limit is 100000"),
        ({"segmentation": "x"}, "'x' is no segmentation"),
        ({"segmentation": {"size": [80, 100], "counts": "abc"}}, "of [80, 100] rows and columns, the image of [8, 10]"),
        ({"segmentation": {"size": [8, 10], "counts": [1, 2]}}, "the run lengths of a mask do not fill the image of"),
        ({"segmentation": {"size": [8, 10], "counts": [90, -10]}}, "the run lengths of a mask do not fill the image"),
        ({"segmentation": {"size": [8, 10], "counts": [10**18]}}, "the run lengths of a mask do not fill the image"),
        ({"segmentation": {"size": [8, 10], "counts": "ooooooooooooooooo"}}, "the run lengths of a mask do not fill"),
        ({"segmentation": {"size": [8, 10]}}, "the run lengths of a mask do not fill the image"),
        ({"keypoints": [1, 2]}, "[1, 2] are no keypoints [x1, y1, v1, x2, y2, v2, …]"),
        ({"image_id": None}, "an annotation has no image_id; the file is COCO JSON"),
    ],
)  # fmt: skip
def test_annotations_of_coco(more: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert message in refused(made.save(tmp_path / "coco.json", with_annotation(**more)))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"images": 3}, '"images" is no list of objects; the file is COCO JSON {"images": […]'),
        ({"annotations": None}, '"annotations" is no list of objects'),
        ({"categories": [3]}, '"categories" is no list of objects'),
        ({"categories": [{"id": 17}]}, "a category has no name"),
        ({"images": [{"id": 7}]}, "an image has no file_name"),
        ({"images": [{"id": 7, "file_name": "img.jpg", "height": 480, "width": 640}]},
         "img.jpg: the truth is of an image of 640 × 480 pixels, the file has 10 × 8; give the images that were"),
    ],
)  # fmt: skip
def test_lists_of_coco(more: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert message in refused(made.save(tmp_path / "coco.json", made.coco_object() | more))


def test_json_that_is_none(tmp_path: Path) -> None:
    whole = json.dumps(made.coco_object())
    assert "is no JSON: it breaks off or is damaged in line 1" in refused(made.save(tmp_path / "a.json", whole[:-20]))
    deep = made.save(tmp_path / "b.json", "[" * 200000)
    assert "lists nested too deep" in refused(deep)
    assert "has a number that is too long" in refused(made.save(tmp_path / "c.json", '{"images": ' + "9" * 5000 + "}"))
    (tmp_path / "d.json").write_bytes(b"\xff\xfe{")
    assert "the truth is not text in UTF-8" in refused(tmp_path / "d.json")


BOMB = """<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><annotation>&b;</annotation>"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (made.VOC[:-30], "img.xml: it is no XML, or breaks off ("),
        (BOMB, "XML with a document type or entities is not read; remove them"),
        (made.VOC.replace("<width>10<", "<width>640<"), "the truth is of an image of 640 × 8 pixels, the file has"),
        (made.VOC.replace("<width>10<", "<width>wide<"), "width is 'wide', which is no number"),
        (made.VOC.replace("<xmin>2<", "<xmin>5<"), "box [4, 2, 4, 6] is empty: x2 must be above x1, and y2 above y1"),
        (made.VOC.replace("<xmax>4<", "<xmax>44<"), "reaches out of the image"),
        (made.VOC.replace("<xmin>2<", "<xmin>nan<"), "xmin is 'nan', which is no number"),
        (made.VOC.replace("<name>cat</name>", ""), "<object> has no <name>"),
        (made.VOC.replace("bndbox", "box"), "an <object> has no <bndbox>"),
    ],
)  # fmt: skip
def test_voc(text: str, message: str, tmp_path: Path) -> None:
    assert message in refused(made.save(tmp_path / "Annotations" / "img.xml", text).parents[1])


def test_utf_16_does_not_hide_entities(tmp_path: Path) -> None:
    (tmp_path / "img.xml").write_bytes(BOMB.encode("utf-16"))
    assert "the truth is not text in UTF-8" in refused(tmp_path / "img.xml")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("0 0.5 0.5 0.2", "img.txt, line 1: 4 columns; a row is class x y width height"),
        ("0 0.5 0.5 0.2 0.2 0.1 0.1 0.1\n", "8 columns; a row is class x y width height"),
        ("\n0 0.5 0.5 x 0.2", "line 2: 0 0.5 0.5 x 0.2 are no numbers"),
        ("0 0.5 0.5 nan 0.2", "are no numbers"),
        ("0.5 0.5 0.5 0.2 0.2", "0.5 is no class index"),
        ("-1 0.5 0.5 0.2 0.2", "-1 is no class index"),
        ("7 0.5 0.5 0.2 0.2", "class 7, and data.yaml names 2 classes"),
        ("0 5 5 2 2", "coordinates are shares of the image, from 0 to 1; these seem to be pixels"),
        ("0 0.5 0.5 1.9 0.2", "reaches out of the image"),
        ("0 0.5 0.5 0 0.2", "is empty: x2 must be above x1"),
        ("0 0.5 0.5 -0.2 0.2", "is empty: x2 must be above x1"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("_yaml")
def test_rows_of_yolo(rows: str, message: str, tmp_path: Path) -> None:
    assert message in refused(made.yolo(tmp_path, rows))


ALIASES = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
"""A list of 2⁶⁰ names in a few lines."""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [cat", "data.yaml: it is no YAML, or breaks off in line 1"),
        ("just words", "it has no names of classes"),
        ("names: 3", '"names" are no list of class names'),
        ("names: {0: cat, 5: dog}", '"names" are no list of class names'),
        ("names: [cat, [dog]]", '"names" are no list of class names'),
        ("names: [cat]\nkpt_shape: [17]", "kpt_shape is no list [number of keypoints, 2 or 3]"),
        ("names: [cat]\nkpt_shape: [17, 9]", "kpt_shape is no list"),
        ("names: !!python/object/apply:os.system [ls]", "it is no YAML, or breaks off"),
        ("[" * 5000, "it is no YAML, or breaks off"),
        ("names: [cat]\n" + "#" * 2**20, "the truth is above the limit of 1048576 bytes"),
        ("\x00", "it is no YAML, or breaks off"),
        (f"{ALIASES}names: *a59", '"names" are no list of class names'),
        (f"{ALIASES}names: [cat]\nkpt_shape: *a59", "kpt_shape is no list"),
        (f"{ALIASES}names: [cat, dog]\npath: *a59\nval: [*a59]\nkpt_shape: 3", "kpt_shape is no list"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("_yaml")
def test_yaml(text: str, message: str, tmp_path: Path) -> None:
    made.yolo(tmp_path)
    assert message in refused(made.save(tmp_path / "data.yaml", text))


@pytest.mark.usefixtures("_yaml")
def test_a_yaml_without_labels(tmp_path: Path) -> None:
    assert "no label files *.txt of the images' names below" in refused(
        made.save(tmp_path / "data.yaml", "names: [cat]")
    )


def test_a_missing_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    assert "YAML needs PyYAML, which is not installed; pip install 'onnxcam[truth]'" in refused(made.yolo(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it has no rows; it is a CSV file with a header"),
        ("image,label\n", "it has no rows"),
        ("img.jpg,cat\nother.jpg,dog\n", "its first line is img.jpg,cat; it is a header with the columns image and"),
        ("image,note\nimg.jpg,x\n", "its first line is image,note; it is a header with the columns image and label"),
        (made.CSV.replace(";10;8;", ";640;480;"), "line 2: the truth is of an image of 640 × 480 pixels, the file has"),
        ("image,label\nimg.jpg\n", "line 2: 1 cells, and the header has 2"),
        ("image,x1,y1,x2,y2\nimg.jpg,1,2,3,x\n", "line 2: y2 is 'x', which is no number"),
        ("image,x1,y1,x2,y2\nimg.jpg,1,2,3,1e400\n", "line 2: y2 is '1e400', which is no number"),
        ("image,x1,y1,x2,y2\nimg.jpg,3,2,1,4\n", "line 2: box [3, 2, 1, 4] is empty"),
        ("image,x1,y1,x2,y2\nimg.jpg,1,2,13,4\n", "line 2: box [1, 2, 13, 4] reaches out of the image"),
        ("image,label\nimg.jpg,\"" + "x" * 200000 + '"\n', "it is no CSV (field larger than field limit"),
    ],
)  # fmt: skip
def test_csv(text: str, message: str, tmp_path: Path) -> None:
    assert message in refused(made.save(tmp_path / "truth.csv", text))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (3, "a shape has no label"),
        ({"label": "cat"}, "the points of cat are no list of [x, y]"),
        ({"label": "cat", "points": [[1, 2], [3]]}, "the points of cat are no list of [x, y]"),
        ({"label": "cat", "points": [[1, 2], [3, 4]]}, "is no polygon"),
        ({"label": "cat", "points": [[1, 2], [90, 4]], "shape_type": "rectangle"}, "reaches out of the image"),
        ({"label": "cat", "points": [[1, 2], [1e6, 4]], "shape_type": "circle"}, "reaches out of the image"),
    ],
)  # fmt: skip
def test_labelme(shape: Any, message: str, tmp_path: Path) -> None:
    assert message in refused(made.save(tmp_path / "img.json", {"shapes": [shape]}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('xtl="1"', ""), "<box> has no xtl"),
        (('xtl="1"', 'xtl="x"'), "xtl is 'x', which is no number"),
        (('xtl="1"', 'xtl="9"'), "is empty: x2 must be above x1"),
        (('rle="0,20"', 'rle="0,21"'), "the run lengths of a mask do not fill the image of 5 × 4 pixels"),
        (('rle="0,20"', 'rle="0,1e9"'), "the run lengths of a mask do not fill the image"),
        (('width="5" height="4"', 'width="900000000" height="900000000"'), "reaches out of the image"),
        (('width="10"', 'width="640"'), "the truth is of an image of 640 × 8 pixels"),
        (("</annotations>", ""), "it is no XML, or breaks off"),
    ],
)  # fmt: skip
def test_cvat(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    assert message in refused(made.save(tmp_path / "annotations.xml", made.CVAT.replace(*change)))


def test_what_is_of_no_known_format(tmp_path: Path) -> None:
    for name in ("truth.zip", "truth.txt", "truth.json"):
        message = refused(made.save(tmp_path / name, '{"a": 1}'))
        assert "is of no known format; those are COCO JSON, Labelme JSON, JSON of boxes, Pascal VOC, CVAT" in message
    assert "formats of truth are coco, labelme, boxes, " in refused(tmp_path / "truth.zip", format="cocoa")
    assert "Did you mean 'coco'" in refused(tmp_path / "truth.zip", format="cocoa")


@pytest.mark.parametrize("format", list(MAKERS))
def test_a_format_that_the_file_does_not_have(format: str, tmp_path: Path) -> None:
    made.save(tmp_path / "other" / "a.bin", "abc")
    for source in (tmp_path / "other" / "a.bin", tmp_path / "other"):
        refused(source, format=format)


@pytest.mark.parametrize("format", MAKERS)
def test_damaged_truth_never_crashes(format: str, tmp_path: Path) -> None:
    """Bytes cut, doubled and changed: what is read is right or refused in one line."""
    if format == "yolo":
        pytest.importorskip("yaml", reason="the extra onnxcam[truth] is not installed")
    path = MAKERS[format](tmp_path)
    files = [one for one in tmp_path.rglob("*") if one.suffix in (".json", ".xml", ".txt", ".yaml", ".csv")]
    chance = random.Random(format)
    for file in files:
        whole = file.read_bytes()
        for _ in range(60):
            file.write_bytes(damaged(whole, chance))
            assert "\n" not in _read(lambda: Truth(path))
        file.write_bytes(whole)


def _read(make: Callable[[], Truth]) -> str:
    """The message, if there is one."""
    try:
        found = make().annotation("photos/img.jpg", SIZE)
        for one in found.objects if found else ():
            assert one.mask is None or one.mask().shape == SIZE
    except OnnxcamError as error:
        return str(error)
    return ""


def damaged(whole: bytes, chance: random.Random) -> bytes:
    start, end = sorted(chance.randrange(len(whole) + 1) for _ in range(2))
    part = whole[start:end]
    other = str(chance.choice([-1, 0, 1e308, 10**30, "nan", "null", "[]", "{}"])).encode()
    ways: list[bytes] = [
        whole[:start],
        whole[:start] + whole[end:],
        whole[:end] + part + whole[end:],
        whole[:start] + bytes([chance.randrange(256)]) + whole[start + 1 :],
        whole[:start] + other + whole[start + 1 :],
    ]
    return chance.choice(ways)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 800 bytes of memory, and a lowest limit of 50."""
    monkeypatch.setattr(paths, "MAX_TEXT", 50)
    monkeypatch.setattr(reading, "_memory", lambda: 800)


@pytest.mark.usefixtures("small")
def test_json_that_the_memory_does_not_hold(tmp_path: Path) -> None:
    held = made.save(tmp_path / "held.json", '{"img.jpg": [[0, 0, 4, 4]]}' + " " * 70)  # above the lowest limit
    assert Truth(held).format == "boxes"
    message = refused(made.save(tmp_path / "large.json", '{"img.jpg": [[0, 0, 4, 4]]}' + " " * 80))
    assert "large.json' needs 0.0 GB of memory, the machine has 0.0 GB: keep the annotations of the images" in message


def test_memory_that_runs_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out(text: str) -> None:
        raise MemoryError

    monkeypatch.setattr(reading.json, "loads", run_out)
    message = refused(made.save(tmp_path / "a.json", "{}"))
    assert "a.json' needs more memory than there is: keep the annotations of the images that you compare" in message
    assert reading._memory() >= 0
