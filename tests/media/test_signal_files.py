"""Files of signals: .wav in all formats, tables, and one-line errors."""

import struct
import wave
from pathlib import Path

import numpy as np
import pytest

from onnxcam.errors import ImageError
from onnxcam.media import signal, table_files, wav

RAMP = np.linspace(-0.9, 0.9, 50)


def write_wav(path: Path, values: np.ndarray, bits: int, kind: int = 1, rate: int = 8000) -> Path:
    """*values* [C, T] in -1 to 1, with a chunk of text before the samples."""
    flat = values.T.reshape(-1)
    if kind == 3:
        body = flat.astype(f"<f{bits // 8}").tobytes()
    elif bits == 8:
        body = (np.round(flat * 128) + 128).astype(np.uint8).tobytes()
    elif bits == 24:
        body = np.round(flat * 2**23).astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    else:
        body = np.round(flat * 2.0 ** (bits - 1)).astype(f"<i{bits // 8}").tobytes()
    block = len(values) * bits // 8
    form = struct.pack("<HHIIHH", kind, len(values), rate, rate * block, block, bits)
    chunks = b"fmt " + struct.pack("<I", 16) + form + b"LIST" + struct.pack("<I", 3) + b"abc\0"
    chunks += b"data" + struct.pack("<I", len(body)) + body
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    return path


@pytest.mark.parametrize(("bits", "kind"), [(8, 1), (16, 1), (24, 1), (32, 1), (32, 3), (64, 3)])
def test_samples_of_every_format(tmp_path: Path, bits: int, kind: int) -> None:
    values = np.stack([RAMP, RAMP[::-1]])
    found, rate = wav.read(write_wav(tmp_path / "a.wav", values, bits, kind, 11025))
    assert rate == 11025
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, values, atol=0.6 / 2 ** (min(bits, 24) - 1))


def test_a_file_of_the_standard_library(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.array([0, 16384, -32768], "<i2").tobytes())
    found, rate = wav.read(tmp_path / "a.wav")
    assert (found.tolist(), rate) == ([[0, 0.5, -1]], 16000)


def test_a_sound_that_is_cut_off(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", RAMP[None], 16)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ImageError, match=r"a\.wav: the sound is cut off, 70 of 100 bytes are there; copy"):
        wav.read(path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ImageError, match="its format is cut off; copy the file again"):
        wav.read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a\.wav: is empty"),
        (b"ID3 a music file", r"a\.wav: is no \.wav file; save the sound as PCM \.wav again"),
        (b"RIFF\0\0\0\0WAVEfmt \x02\0\0\0\1\0", "its format is cut off"),
        (
            b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<IHHIIHH", 16, 7, 1, 8000, 8000, 1, 8),
            "holds sound that is mu-law; save it as PCM",
        ),
        (
            b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 16) + b"data\1\0\0\0a",
            "has no samples",
        ),
        (
            b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 0, 8000, 1, 16) + b"data\2\0\0\0ab",
            "its header says 0 samples in a second; export the sound again",
        ),
    ],
)
def test_files_that_are_no_sound(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(ImageError, match=message):
        wav.read(tmp_path / "a.wav")


def table(tmp_path: Path, text: str) -> table_files.NumberTable:
    (tmp_path / "a.csv").write_text(text, "utf-8")
    return table_files.read(tmp_path / "a.csv")


def test_a_table_without_a_header(tmp_path: Path) -> None:
    found = table(tmp_path, "1,2\n3,4\n\n5,6\n")
    assert (found.values.tolist(), found.names, found.notes) == ([[1, 3, 5], [2, 4, 6]], (), ())


@pytest.mark.parametrize(
    ("name", "step", "rate"),
    [("time", 0.004, 250), ("t", 1, 1), ("Time (s)", 0.002, 500), ("time_ms", 4, 250), ("timestamp", 0.5, 2)],
)
def test_the_column_of_times_is_known_by_its_name(tmp_path: Path, name: str, step: float, rate: float) -> None:
    rows = [f"{k * step:g};{k};{-k}" for k in range(10)]
    found = table(tmp_path, "\n".join([f"{name};MLII;V5", *rows]))
    assert found.names == ("MLII", "V5")
    assert found.values.tolist() == [[*range(10)], [-k for k in range(10)]]
    assert found.rate == rate
    assert found.notes == (f"column {name!r} is the time and no channel: {rate} samples in a second",)


UNEVEN = "its steps are not even, so each row counts as one sample"


def test_a_column_with_a_gap(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"a\.csv: row 3 is empty, and the samples behind it would move"):
        table(tmp_path, "x\n1\n\n2\n")


def test_times_that_are_not_even_give_no_rate(tmp_path: Path) -> None:
    found = table(tmp_path, "time\tx\n0\t1\n1\t2\n5\t3\n")
    assert (found.rate, found.notes) == (None, (f"column 'time' is the time and no channel: {UNEVEN}",))
    assert table(tmp_path, "date,x\n2026-01-01,1\n2026-01-02,2\n2026-01-03,3\n").rate is None


@pytest.mark.parametrize(
    ("text", "names", "notes"),
    [
        ("x;y\n0,5;1\n-0,25;2e-1\n", ("x", "y"), ("commas in its numbers are decimal points",)),
        ("0,5\t1\n-0,25\t0,2\n", (), ("commas in its numbers are decimal points",)),
        (
            "Device A\n# rate, 5\nx,y\nmV,mV\n0.5,1\n-0.25,0.2\n",
            ("x", "y"),
            ("rows 1 to 4 stand above the numbers, with the names in row 3",),
        ),
        ("# made by A\n0.5,1\n-0.25,0.2\n", (), ("row 1 stands above the numbers",)),
    ],
)
def test_decimal_commas_and_lines_above_the_numbers(
    tmp_path: Path, text: str, names: tuple[str, ...], notes: tuple[str, ...]
) -> None:
    found = table(tmp_path, text)
    assert (found.names, found.notes) == (names, notes)
    np.testing.assert_array_equal(found.values, np.float32([[0.5, -0.25], [1, 0.2]]))


def test_the_unit_of_a_time_below_its_name(tmp_path: Path) -> None:
    assert table(tmp_path, "time,x\nms,mV\n0,1\n4,2\n8,3\n").rate == 250


def test_a_first_column_that_only_grows_is_a_channel(tmp_path: Path) -> None:
    assert table(tmp_path, "x,y\n0,5\n1,5\n").names == ("x", "y")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a\.csv: the table is empty; give one with a row for each sample"),
        ("\n \n", "the table is empty"),
        ("a,b\n", "has a header and no rows"),
        (
            "word,place\nred,left\nblue,right\n",
            "the table has 3 rows of words and none of numbers; give one with a row",
        ),
        ("time,x\n2,1\n1,5\n0,3\n", "the time, column 'time', falls in row 3, from 2 to 1; sort the rows by time, or"),
        ("a,b\n1,2\n3,x\n", r"a\.csv: row 3, column 2 is 'x', no finite number; mend that cell, or leave its row"),
        ("1\n2,3\n4,5\n", "row 2 has 2 columns, and the others 1; mend that row"),
        ("n/a\n2\n", "row 1, column 1 is 'n/a', no finite number"),
        ("x,y\n0,5,1,25\n0,05,1,5\n", "row 3 holds '0,05', and its comma may be a decimal one or separate columns; wr"),
        ("x,y\n1,5,1,25\n", "row 2 holds '1,5', and its comma may be a decimal one"),
        ("1,234;5\n", "row 1 holds '1,234', which may be 1234 or 1.234; write numbers without commas"),
        ("0.5 1\n0.6 2\n", "row 1 holds 2 numbers with spaces between them; put commas there"),
        ("1,2\n3,\n", "row 2, column 2 is empty, no finite number"),
        ("1,2\n3,nan\n", "row 2, column 2 is 'nan', no finite number"),
        ("1,2\n3\n", "row 2 has 1 columns, and the others 2; mend that row"),
        ("time\n1\n2\n", "its only column 'time' is the time"),
        ("1,2\n1,2\0\n", r"row 2, column 2 is '2\\\\x00', no finite number"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        table(tmp_path, text)


def test_arrays_that_are_no_signal(tmp_path: Path) -> None:
    x = np.zeros((2, 9), np.float32)
    x[1, 4] = np.nan
    np.save(tmp_path / "a.npy", x)
    with pytest.raises(ImageError, match=r"a\.npy: holds NaN, infinity .* the first at \[1, 4\]; mend the signal"):
        signal.read(tmp_path / "a.npy")
    with pytest.raises(ImageError, match=r"no signal; give a \.wav, \.csv or \.npy file"):
        signal.read(np.zeros(0))
    with pytest.raises(ImageError, match="a signal cannot be a int"):
        signal.read(3)
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(ImageError, match=r"a\.png: is an image, and the model takes signals; give a \.wav"):
        signal.read(tmp_path / "a.png")
    (tmp_path / "a.mp3").write_bytes(b"x")
    with pytest.raises(ImageError, match=r"a\.mp3: is a file of the kind '\.mp3', and the model takes signals"):
        signal.read(tmp_path / "a.mp3")
