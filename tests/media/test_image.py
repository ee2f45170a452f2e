"""Images are built byte by byte where the point is in the bytes: orientation, size, damage."""

from __future__ import annotations

import contextlib
import struct
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from onnxcam.errors import ImageError, OutputError
from onnxcam.media import image, image_headers
from onnxcam.stderr import silence

# Four quarters that tell all eight orientations apart, in RGB, large enough to survive JPEG.
QUARTERS = np.kron(np.array([[0, 1, 2], [3, 4, 5]]), np.ones((16, 16), int))
UPRIGHT = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250], [250, 250, 0], [0, 0, 0], [250, 250, 250]], np.uint8)[
    QUARTERS
]


def stored(orientation: int, upright: np.ndarray = UPRIGHT) -> np.ndarray:
    """The pixels a camera stores so that EXIF *orientation* makes them upright, case by case."""
    return {
        1: upright,
        2: np.fliplr(upright),
        3: np.rot90(upright, 2),
        4: np.flipud(upright),
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]


def exif(orientation: int, order: str = "<") -> bytes:
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    return head + struct.pack(order + "HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)


def jpeg(rgb: np.ndarray, orientation: int) -> bytes:
    data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    body = b"Exif\0\0" + exif(orientation)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND", b"")


def header(width: int, height: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def save(path: Path, array: np.ndarray) -> Path:
    """Write with OpenCV, so BGR or BGRA."""
    path.write_bytes(cv2.imencode(path.suffix, array)[1].tobytes())
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpeg_is_turned_upright(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "camera.jpg"
    path.write_bytes(jpeg(stored(orientation), orientation))
    picture = image.read(path)
    assert picture.shape == UPRIGHT.shape
    assert np.abs(picture.astype(int) - UPRIGHT)[4:12, 4:12].max() < 20
    assert np.abs(picture.astype(int) - UPRIGHT).mean() < 20  # the chroma of JPEG bleeds over the edges


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_png_with_alpha_is_turned_upright(tmp_path: Path, orientation: int, order: str) -> None:
    bgr = stored(orientation)[..., ::-1]
    bgra = np.dstack([bgr, np.full(bgr.shape[:2], 255, np.uint8)])
    data = cv2.imencode(".png", bgra)[1].tobytes()
    path = tmp_path / "camera.png"
    path.write_bytes(data[:33] + chunk(b"eXIf", exif(orientation, order)) + data[33:])
    np.testing.assert_array_equal(image.read(path), UPRIGHT)


@pytest.mark.parametrize("block", [b"", b"II*\0", exif(1)[:15], exif(9), exif(0), b"MM\0*\xff\xff\xff\xff"])
def test_a_damaged_exif_block_says_nothing(block: bytes) -> None:
    assert image._exif_orientation(block) == 1


def test_rgb_order_and_name_beyond_ascii(tmp_path: Path) -> None:
    path = save(tmp_path / "käse 猫.png", np.full((2, 3, 3), (1, 2, 3), np.uint8))
    assert image.read(str(path)).tolist() == [[[3, 2, 1]] * 3] * 2


def test_grey_file_has_three_equal_channels(tmp_path: Path) -> None:
    path = save(tmp_path / "grey.png", np.array([[0, 77]], np.uint8))
    assert image.read(path).tolist() == [[[0] * 3, [77] * 3]]


def test_alpha_is_laid_over_white(tmp_path: Path) -> None:
    bgra = np.array([[[10, 20, 30, 0], [10, 20, 30, 255], [0, 100, 200, 51]]], np.uint8)
    path = save(tmp_path / "alpha.png", bgra)
    assert image.read(path).tolist() == [[[255] * 3, [30, 20, 10], [244, 224, 204]]]


def test_16_bits_are_scaled(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 257 * 100, 65535]], np.uint16)
    assert image.read(save(tmp_path / "deep.png", values))[0, :, 0].tolist() == [0, 0, 1, 100, 255]
    alpha = np.full((1, 1, 4), 65535, np.uint16)
    assert image.read(save(tmp_path / "alpha.png", alpha)).tolist() == [[[255] * 3]]


@pytest.mark.parametrize(
    ("largest", "depth"), [(20, 8), (255, 8), (256, 10), (1023, 10), (3000, 12), (4095, 12), (16383, 14)]
)
def test_16_bits_are_scaled_by_the_depth_in_use(largest: int, depth: int, tmp_path: Path) -> None:
    warnings: list[str] = []
    path = save(tmp_path / "deep.png", np.array([[0, largest // 2, largest]], np.uint16))
    found = image.read(path, warnings.append)[0, :, 0]
    np.testing.assert_allclose(found, np.array([0, largest // 2, largest]) * 255 / (2**depth - 1), atol=0.5)
    assert [text.split(":")[0] for text in warnings] == [f"a 16-bit image uses {depth} bits"]


@pytest.mark.parametrize("values", [[0, 65535], [0, 16384], [0, 0]])
def test_no_word_about_16_bits_in_full_use(values: list[int], tmp_path: Path) -> None:
    warnings: list[str] = []
    image.read(save(tmp_path / "deep.png", np.array([values], np.uint16)), warnings.append)
    assert warnings == []


def test_transparency_has_16_bits(tmp_path: Path) -> None:
    bgra = np.array([[[4095, 0, 0, 65535], [4095, 0, 0, 0]]], np.uint16)
    assert image.read(save(tmp_path / "alpha.png", bgra)).tolist() == [[[0, 0, 255], [255] * 3]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 0.2, 1], [0, 51, 255]), ([-1, 2, 10], [0, 51, 255]), ([np.nan, np.inf, 1], [0, 0, 255])],
)
def test_floats_are_scaled(tmp_path: Path, values: list[float], expected: list[int]) -> None:
    warnings: list[str] = []
    path = save(tmp_path / "float.tiff", np.array([values], np.float32))
    assert image.read(path, warnings.append)[0, :, 0].tolist() == expected
    assert warnings == (
        ["an image of float32 values reaches 10: 0 to 10 was scaled to 0 to 255"] if 10 in values else []
    )


def test_rgb_array_is_taken_as_it_is() -> None:
    array = np.zeros((2, 3, 3), np.uint8)
    assert image.read(array) is array


def test_grey_array_has_three_equal_channels() -> None:
    assert image.read(np.array([[1, 2]], np.uint8)).tolist() == [[[1] * 3, [2] * 3]]


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (
            np.zeros((2, 2, 3), np.float32),
            "array of float32 with shape (2, 2, 3); give a file name, or a uint8 array",
        ),
        (np.zeros((0, 2, 3), np.uint8), "array of uint8 with shape (0, 2, 3); give a file name"),
        (
            np.zeros((2, 2, 4), np.uint8),
            "array with shape (2, 2, 4); give a file name, or a uint8 array [H, W, 3]",
        ),
        (np.zeros((1, 2, 2, 3), np.uint8), "array with shape (1, 2, 2, 3); give a file name"),
        (
            7,
            "an image cannot be a int; give a file name, or a uint8 array [H, W, 3] in RGB order",
        ),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray, said: str) -> None:
    with pytest.raises(ImageError) as caught:
        image.read(array)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("missing.png", None, "missing.png: no such file; check the name"),
        ("empty.png", b"", "empty.png: the file is empty; copy the image again"),
        (
            "text.jpg",
            b"hello",
            "text.jpg: is not an image that OpenCV reads, or is damaged; save it as PNG or JPEG",
        ),
        ("nul\0.png", None, "cannot be read (embedded null byte); check the name"),
        ("cut.png", png(header(9, 9))[:40], "cut.png: the PNG file is cut off; copy the image again"),
        ("hollow.png", png(header(9, 9)), "hollow.png: is not an image that OpenCV reads, or is damaged"),
    ],
)
def test_what_is_no_picture(tmp_path: Path, name: str, data: bytes | None, said: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ImageError) as caught:
        image.read(tmp_path / name)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_no_file_system_takes() -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        image.read("x" * 5000 + ".png")


def test_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a folder, not an image; name a file in it"):
        image.read(tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff", ".bmp", ".gif"])
def test_cut_files_are_refused_in_silence(tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = save(tmp_path / f"cut{suffix}", noise)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ImageError, match="cut"):
        image.read(path)
    assert capfd.readouterr().err == ""


def bomb_png() -> bytes:
    """A whole image of 30,000 × 30,000 black pixels in a few megabytes, compressed row by row."""
    deflate, row = zlib.compressobj(1), bytes(1 + 3 * 30000)
    rows = [deflate.compress(row) for _ in range(200)]
    return png(header(30000, 30000), chunk(b"IDAT", b"".join(rows) + deflate.flush()))


def bomb_jpeg() -> bytes:
    data = bytearray(cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 30000, 30000)
    return bytes(data)


def bomb_jpeg_with_fill_bytes() -> bytes:
    return bomb_jpeg().replace(b"\xff\xc0", b"\xff\xff\xff\xc0")


def bomb_bmp() -> bytes:
    data = bytearray(cv2.imencode(".bmp", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    data[18:26] = struct.pack("<ii", 30000, -30000)
    return bytes(data)


def bomb_tiff(order: str = "<") -> bytes:
    entries = [(256, 4, 1, 30000), (257, 4, 1, 30000)]
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    return head + struct.pack(order + "H", 2) + b"".join(struct.pack(order + "HHII", *each) for each in entries)


def bomb_tiff_from_the_big_end() -> bytes:
    return bomb_tiff(">")


def bomb_webp() -> bytes:
    side = (30000 - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<II", 10, 0) + side + side


def bomb_gif() -> bytes:
    return b"GIF89a" + struct.pack("<HH", 30000, 30000)


def bomb_ppm() -> bytes:
    return b"P6 # a comment\n30000\n30000\n255\n"


BOMBS = [bomb_png, bomb_jpeg, bomb_jpeg_with_fill_bytes, bomb_bmp, bomb_tiff, bomb_tiff_from_the_big_end]
BOMBS += [bomb_webp, bomb_gif, bomb_ppm]


@pytest.mark.parametrize("make", BOMBS)
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: object) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(make())  # type: ignore[operator]
    monkeypatch.setattr(cv2, "imdecode", None)
    with pytest.raises(ImageError) as caught:
        image.read(path)
    assert "an image of 30000 x 30000 pixels is above the limit of 268435456 pixels (2^28)" in str(caught.value)


def test_opencv_refuses_a_bomb_of_other_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def imdecode(*_: object) -> None:
        raise cv2.error("pixels <= CV_IO_MAX_IMAGE_PIXELS in function 'validateInputImageSize'")

    monkeypatch.setattr(cv2, "imdecode", imdecode)
    path = tmp_path / "bomb.tiff"
    path.write_bytes(b"II*\0")
    with pytest.raises(ImageError, match=r"an image is above the limit of 268435456 pixels \(2\^28\); scale it"):
        image.read(path)


def test_out_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def imdecode(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(cv2, "imdecode", imdecode)
    path = tmp_path / "large.tiff"
    path.write_bytes(b"II*\0")
    with pytest.raises(ImageError, match="not enough memory to unpack the image; scale it down first"):
        image.read(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff", ".bmp", ".gif", ".ppm"])
def test_the_size_in_the_header(suffix: str) -> None:
    assert image_headers.size(cv2.imencode(suffix, np.zeros((20, 30, 3), np.uint8))[1].tobytes()) == (30, 20)


def _damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Return *data* with a few wrong bytes, half of them in the header, often cut off too."""
    found = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        found[rng.integers(0, len(data) if rng.random() < 0.5 else min(64, len(data)))] = rng.integers(0, 256)
    return bytes(found[: rng.integers(1, len(data))] if rng.random() < 0.3 else found)


def _mended(data: bytes) -> bytes:
    """Return a PNG with right check sums, so that the damage is found further inside."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, body) for kind, body in image_headers.png_chunks(data))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tiff", ".ppm"])
def test_damaged_files_are_read_or_refused_in_silence(capfd: pytest.CaptureFixture[str], suffix: str) -> None:
    rng = np.random.default_rng(0)
    noise = cv2.resize(rng.integers(0, 256, (9, 12, 3), np.uint8), (96, 64), interpolation=cv2.INTER_CUBIC)
    data = cv2.imencode(suffix, noise)[1].tobytes()
    for number in range(100):
        damaged = _damaged(data, rng)
        with contextlib.suppress(ImageError):
            found = image.decode(_mended(damaged) if suffix == ".png" and number % 2 else damaged, f"bad{suffix}")
            assert (found.dtype, found.shape[2]) == (np.uint8, 3)
    assert capfd.readouterr() == ("", "")


def test_a_damaged_picture_does_not_keep_others_from_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(cv2.imencode(".png", UPRIGHT)[1].tobytes())
    data[60] ^= 255
    with silence():
        with pytest.raises(ImageError):
            image.decode(bytes(data), "bad.png")
        print("kept", file=sys.stderr)
    assert capfd.readouterr().err == "kept\n"


def test_opencv_keeps_its_log_level() -> None:
    level = cv2.utils.logging.getLogLevel()
    with pytest.raises(ImageError):
        image.decode(b"x", "x")
    assert cv2.utils.logging.getLogLevel() == level


def test_write_and_read_back(tmp_path: Path) -> None:
    image.write(tmp_path / "out.png", UPRIGHT)
    np.testing.assert_array_equal(image.read(tmp_path / "out.png"), UPRIGHT)
    image.write(tmp_path / "out.png", UPRIGHT[::-1])  # over the old one
    np.testing.assert_array_equal(image.read(tmp_path / "out.png"), UPRIGHT[::-1])
    image.write(tmp_path / "out.JPG", UPRIGHT)
    assert [each.name for each in sorted(tmp_path.iterdir())] == ["out.JPG", "out.png"]


def test_write_refuses_unknown_kinds(tmp_path: Path) -> None:
    for name in ("out.xyz", "out"):
        with pytest.raises(OutputError, match=r"no image can be written as '.*'; use .png or .jpg"):
            image.write(tmp_path / name, UPRIGHT)
    assert not list(tmp_path.iterdir())


def test_write_leaves_nothing_half_done(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*; choose another with -o"):
        image.write(tmp_path / "no such" / "out.png", UPRIGHT)
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(OutputError, match=r"is a folder; name the file to write with -o"):
        image.write(tmp_path / "taken.png", UPRIGHT)
    assert [each.name for each in tmp_path.iterdir()] == ["taken.png"]


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".webp"])
def test_a_lower_quality_makes_a_smaller_file(tmp_path: Path, suffix: str) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    sizes = []
    for quality in (20, 60, 95):
        image.write(tmp_path / f"a{suffix}", rgb, quality)
        assert image.read(tmp_path / f"a{suffix}").shape == rgb.shape
        sizes.append((tmp_path / f"a{suffix}").stat().st_size)
    assert sizes == sorted(set(sizes))
