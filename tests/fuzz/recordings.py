"""Recordings and journals that were changed after they were written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz import values, wire
from tests.fuzz.place import Place

_COMPARE = ["compare", "recording", "bad", "-o", "out"]
_INDEX = "recording.json"
_FILES = (_INDEX, _INDEX, "scores.bin", "maps.bin", "classes.bin")


def case(rng: Random, place: Place) -> list[str]:
    """Lay out one case and return the words of its command."""
    return rng.choice((_recording, _recording, _journal, _journal, _resumed))(rng, place)


def _recording(rng: Random, place: Place) -> list[str]:
    place.take("recording")
    bad = place.folder / "bad"
    (place.folder / "recording").rename(bad)
    place.take("recording")
    _change(rng, bad, rng.choice(_FILES))
    if rng.random() < 0.2:
        words = ["record", place.take("model.onnx"), place.take("picture.png"), "-p", "unit", "-o", "out"]
        return [*words, "--explain-from", "bad"]
    extra = rng.choice(([], ["--force"], ["--common"], ["--json"], ["--force", "--common", "--json"]))
    return [*(_COMPARE if rng.random() < 0.7 else ["compare", "bad", "recording", "-o", "out"]), *extra]


def _change(rng: Random, folder: Path, name: str) -> None:
    """Change a file of a recording: under the seal that fits, as a firmware might write it, or without."""
    file, says = folder / name, folder / _INDEX
    kind = rng.random()
    if kind < 0.1:
        file.unlink()
    elif kind < 0.4:
        file.write_bytes(wire.mutated(rng, file.read_bytes()))
    elif name == _INDEX:
        says.write_bytes(_sealed(values.damage_json(rng, json.loads(says.read_bytes()))))
    else:
        file.write_bytes(_numbers(rng, file.read_bytes()))
        whole = json.loads(says.read_bytes())
        whole["tensors"][file.stem]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
        says.write_bytes(_sealed(whole))


def _numbers(rng: Random, data: bytes) -> bytes:
    """Put a number of four or eight bytes in another's place: NaN, infinite, huge, or below 0."""
    number = rng.choice((b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\xff\x7f\x7f", b"\xff\xff\xff\xff"))
    at = rng.randrange(len(data) // 4) * 4
    number *= rng.choice((1, 2, len(data) // 4))
    return data[:at] + number[: len(data) - at] + data[at + len(number) :]


def _sealed(says: Any) -> bytes:
    """Return what a recording says as its file, with the hash of all before the seal at its end."""
    if not isinstance(says, dict):
        return json.dumps(says).encode()
    body = json.dumps({**{key: value for key, value in says.items() if key != "seal"}, "seal": ""}).encode()[
        : -len(' ""}') - 1
    ]
    hashed = hashlib.sha256(body.rpartition(b'"seal"')[0]).hexdigest()
    return body + f': "{hashed}"}}'.encode()


def _lines(rng: Random, data: bytes) -> bytes:
    """Drop, double, swap or change lines of JSON."""
    lines = data.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    kind = rng.randrange(6)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(at, lines[at])
    elif kind == 2:
        rng.shuffle(lines)
    elif kind == 3:
        lines[at] = rng.choice((b"\n", b"{}\n", b"[]\n", b"null\n", b"5\n", b'{"number": 0}\n', b"[" * 100_000 + b"\n"))
    else:
        lines[at] = json.dumps(values.damage_json(rng, json.loads(lines[at]))).encode() + b"\n"
    return b"".join(lines)


def _journal(rng: Random, place: Place) -> list[str]:
    """Take a validation up again whose journal was changed."""
    for name in ("model.onnx", "picture.png", "other.png", "validation"):
        place.take(name)
    for name in ("validation.json", "report.html", "junit.xml"):
        (place.folder / "validation" / name).unlink(missing_ok=True)
    journal = place.folder / "validation" / "journal.jsonl"
    data = journal.read_bytes()
    journal.write_bytes(_lines(rng, data) if rng.random() < 0.7 else wire.mutated(rng, data))
    words = ["validate", "model.onnx", "model.onnx", "picture.png", "other.png", "-p", "unit", "-o", "validation"]
    return [*words, *rng.choice(([], ["--json"], ["--overwrite"]))]


def _resumed(rng: Random, place: Place) -> list[str]:
    """Record again into a folder that holds a recording which was changed."""
    for name in ("model.onnx", "picture.png", "other.png", "recording"):
        place.take(name)
    file = place.folder / "recording" / rng.choice(_FILES)
    changed = rng.choice((wire.mutated, wire.truncate))(rng, file.read_bytes())
    file.write_bytes(changed)
    if rng.random() < 0.5 and file.name != _INDEX:
        (place.folder / "recording" / _INDEX).unlink()
    return ["record", "model.onnx", "picture.png", "other.png", "-p", "unit", "-o", "recording"]
