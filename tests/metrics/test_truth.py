"""Where the objects are: every form that is read, and every message."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from onnxcam.errors import ImageError, TruthError
from onnxcam.metrics import Truth

SIZE = (4, 6)
BOX = [1, 1, 3, 4]


def numbers() -> np.ndarray:
    """A label map: a 2 × 3 block of 1, one pixel of 2, one of 255."""
    mask = np.zeros(SIZE, np.uint8)
    mask[1:4, 1:3], mask[0, 5], mask[3, 5] = 1, 2, 255
    return mask


def write(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), array)
    return path


def png(rows: np.ndarray, depth: int, kind: int, palette: bytes = b"") -> bytes:
    """A PNG written by hand: OpenCV writes neither palettes nor few bits."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    bits = np.unpackbits(rows.astype(np.uint8)[..., None], axis=2)[..., 8 - depth :].reshape(len(rows), -1)
    lines = b"".join(b"\0" + line.tobytes() for line in np.packbits(bits, axis=1))
    header = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], depth, kind, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *([chunk(b"PLTE", palette)] if palette else [])]
    return b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")])


@pytest.mark.parametrize("name", ["img.png", "img_mask.png", "img_masks.png"])
def test_a_folder_of_masks(tmp_path: Path, name: str) -> None:
    write(tmp_path / "masks" / name, numbers())
    (region,) = Truth(tmp_path / "masks").regions("photos/img.jpg", SIZE).values()
    np.testing.assert_array_equal(region.mask, numbers() > 0)
    assert set(region.boxes) == {(1, 1, 3, 4), (5, 0, 6, 1), (5, 3, 6, 4)}


def test_a_label_map(tmp_path: Path) -> None:
    write(tmp_path / "img.png", numbers())
    found = Truth(tmp_path, "class").regions("img.jpg", SIZE)
    assert set(found) == {1, 2}
    assert found[2].boxes == ((5, 0, 6, 1),)
    assert set(Truth(tmp_path, "class+1").regions("img.jpg", SIZE)) == {0, 1}


def test_one_mask(tmp_path: Path) -> None:
    truth = Truth(write(tmp_path / "any.png", numbers()))
    assert truth.single
    assert None in truth.regions("img.jpg", SIZE)


def test_a_palette_holds_numbers_not_colours(tmp_path: Path) -> None:
    """As PASCAL VOC writes them: of 255 the colour is cream."""
    palette = np.zeros((256, 3), np.uint8)
    palette[1:3], palette[255] = [(128, 0, 0), (0, 128, 0)], (224, 224, 192)
    palette[3:255] = np.arange(3, 255)[:, None]
    (tmp_path / "img.png").write_bytes(png(numbers(), 8, 3, palette.tobytes()))
    found = Truth(tmp_path, "class").regions("img.jpg", SIZE)
    assert set(found) == {1, 2}
    np.testing.assert_array_equal(found[1].mask, numbers() == 1)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_few_bits(tmp_path: Path, depth: int) -> None:
    rows = np.minimum(numbers(), 2**depth - 1)
    (tmp_path / "img.png").write_bytes(png(rows, depth, 0))
    found = Truth(tmp_path, "class").regions("img.jpg", SIZE)
    assert set(found) == set(np.unique(rows)) - {0}


def test_boxes(tmp_path: Path) -> None:
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps({"img.jpg": [BOX, [0.4, 0, 1.6, 1]], "photos/img.jpg": [[0, 0, 6, 4]]}))
    region = Truth(file).regions("elsewhere/img.jpg", SIZE)[None]
    assert region.boxes == ((1, 1, 3, 4), (0.4, 0, 1.6, 1))
    expected = np.zeros(SIZE, bool)
    expected[1:4, 1:3], expected[0, 0:2] = True, True
    np.testing.assert_array_equal(region.mask, expected)
    assert Truth(file).regions("photos/img.jpg", SIZE)[None].mask.all()  # the whole path goes first


def test_boxes_with_classes(tmp_path: Path) -> None:
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps({"img.jpg": [{"label": "cat", "box": BOX}, {"label": 3, "box": [0, 0, 1, 1]}]}))
    found = Truth(file).regions("img.jpg", SIZE)
    assert set(found) == {"cat", 3}
    assert found["cat"].mask.sum() == 6


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ([], "img.jpg has no list of objects"),
        ({"label": "cat"}, "img.jpg has no list of objects"),
        ([{"box": BOX}], "img.jpg: an object has no label"),
        ([{"label": "cat"}], "img.jpg: None is no box [x1, y1, x2, y2]"),
        ([[1, 2, 3]], "img.jpg: [1, 2, 3] is no box [x1, y1, x2, y2]"),
        ([["1", 2, 3, 4]], "is no box [x1, y1, x2, y2]"),
        ([[0, 0, 1, float("nan")]], "[0, 0, 1, nan] is no box [x1, y1, x2, y2]"),
        ([[0, 0, 1, float("inf")]], "[0, 0, 1, inf] is no box [x1, y1, x2, y2]"),
        ([[0, 0, 1, 10**400]], "0] is no box [x1, y1, x2, y2]"),
        ([[3, 1, 3, 4]], "box [3, 1, 3, 4] is empty: x2 must be above x1"),
        ([[1, 1, 7, 4]], "box [1, 1, 7, 4] reaches out of the image of 6 × 4 pixels; was the image scaled?"),
    ],
)
def test_boxes_that_are_none(tmp_path: Path, entry: object, message: str) -> None:
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps({"img.jpg": entry}))
    with pytest.raises(TruthError) as error:
        Truth(file).regions("img.jpg", SIZE)
    assert message in str(error.value)


def test_a_truth_that_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TruthError, match="pipe: is a pipe, not a truth; give a file"):
        Truth(tmp_path / "pipe")
    with pytest.raises(TruthError, match=r"truth '.*…x*' does not exist"):
        Truth("x" * 5000)
    write(tmp_path / "img.png", numbers())
    with pytest.raises(TruthError, match="no mask for "):
        Truth(tmp_path).regions("x" * 254 + ".jpg", SIZE)


def test_masks_that_are_none(tmp_path: Path) -> None:
    mask = tmp_path / "img.png"
    mask.write_bytes(cv2.imencode(".jpg", numbers())[1].tobytes())
    with pytest.raises(TruthError, match="a mask is a PNG, which this file is not; save it as a grey PNG of 8 bits"):
        Truth(mask).regions("img.jpg", SIZE)
    mask.write_bytes(png(numbers(), 8, 3, bytes(range(1, 7))))  # 255 is beyond the palette
    with pytest.raises((TruthError, ImageError), match=r"colours that are not in its palette|is damaged"):
        Truth(mask).regions("img.jpg", SIZE)


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    def message(source: Path, values: str = "object") -> str:
        with pytest.raises(TruthError) as error:
            Truth(source, values).regions("img.jpg", SIZE)
        return str(error.value)

    assert "does not exist; check the path" in message(tmp_path / "none")
    assert "values of masks are object, class, class+1, not 'klass'" in message(tmp_path, "klass")
    assert "is of no known format; those are COCO JSON, Labelme JSON, JSON of boxes, Pascal VOC" in message(tmp_path)
    write(tmp_path / "other.png", numbers())
    assert "no mask for img.jpg" in message(tmp_path)
    assert "neither img.png nor img_mask.png nor img_masks.png" in message(tmp_path)
    text = tmp_path / "boxes.txt"
    text.write_text("1 2 3 4")
    assert "is of no known format; those are" in message(text)
    file = tmp_path / "boxes.json"
    file.write_text("{")
    assert "is no JSON: it breaks off or is damaged in line 1, column 2" in message(file)
    file.write_text("[]")
    assert "is of no known format" in message(file)
    file.write_text("{}")
    assert "no entry for img.jpg; its keys are names of images" in message(file)
    write(tmp_path / "img.png", np.zeros((2, 6), np.uint8))
    assert "the mask is 6 × 2 pixels, the image 6 × 4; scale it" in message(tmp_path)
    write(tmp_path / "img.png", np.zeros(SIZE, np.uint8))
    assert "img.png: the mask is empty: no pixel is an object" in message(tmp_path)
    assert "the mask is empty" in message(tmp_path, "class")
    write(tmp_path / "img.png", numbers().astype(np.uint16))
    assert "a mask with 16 bits; save it as a grey PNG of 8 bits" in message(tmp_path)
    write(tmp_path / "img.png", np.zeros((*SIZE, 4), np.uint8))
    assert "a mask with transparency" in message(tmp_path)
