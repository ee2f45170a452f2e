"""Mutated recordings of version 2: each is refused in one line, with exit code 2."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcam.compare.compare_recordings import compare_recordings
from onnxcam.compare.device_runner import sealed
from onnxcam.errors import OnnxcamError
from tests.command import Ran
from tests.compare.test_recorded_objects import FILES, written

EACH = 40
"""Mutations of each kind."""

Mutation = Callable[[Path, dict[str, Any], np.random.Generator], None]
HUGE = (2**24, 2**31, 2**32 + 1, 2**53, 2**62, 2**63, 2**64, 10**30)
PATHS = (
    *(
        "../arrays.bin",
        "/etc/passwd",
        "./arrays.bin",
        "a/../arrays.bin",
        "..",
        ".",
        "",
        "~/arrays.bin",
        "\0",
        "arrays.bin\0",
    ),
    *(
        "nul",
        "C:\\arrays.bin",
        "\\\\host\\share\\a",
        "arrays.bin/",
        "file:///etc/passwd",
        "/dev/zero",
        "a" * 5000,
        "\ud800",
    ),
)


def pick(rng: np.random.Generator, values: Any) -> Any:
    return values[int(rng.integers(len(values)))]


def cut(folder: Path, told: dict[str, Any], rng: np.random.Generator) -> None:
    """Truncate a file."""
    path = folder / pick(rng, FILES)
    data = path.read_bytes()
    path.write_bytes(data[: int(rng.integers(len(data)))])


def shapes(folder: Path, told: dict[str, Any], rng: np.random.Generator) -> None:
    """Change the shape or the type of an array or of a map."""
    picture = pick(rng, told["pictures"])
    if rng.random() < 0.3:
        one = picture["objects"][0]
        one["map"] = pick(
            rng, ([1], [*one["map"], 1], [one["map"][0] + 1, one["map"][1]], [0, 0], [-1, -1], [], 4, "4x5")
        )
        return
    form = picture["arrays"][pick(rng, ("boxes", "scores", "classes"))]
    if rng.random() < 0.3:
        form["dtype"] = pick(
            rng, ("object", "U8", "float128", "complex64", ">f8", "datetime64", "", None, 3, "void", "bool")
        )
    else:
        shape = form["shape"]
        form["shape"] = pick(
            rng, ([*shape, 2], [], [shape[0] + 1, *shape[1:]], [-1, *shape[1:]], None, {}, "3", [1.5], [None])
        )


def lengths(folder: Path, told: dict[str, Any], rng: np.random.Generator) -> None:
    """Claim a huge length."""
    huge, picture = pick(rng, HUGE), pick(rng, told["pictures"])
    place = pick(rng, ("array", "map", "tensor", "size", "index", "frame"))
    if place == "array":
        form = picture["arrays"]["boxes"]
        form["shape"] = pick(rng, ([huge, 4], [huge] * 8, [3, huge], [2**20] * 3))
    elif place == "map":
        picture["objects"][0]["map"] = pick(rng, ([huge, huge], [1, huge], [huge, 1]))
    elif place == "tensor":
        pick(rng, list(told["tensors"].values()))["shape"] = pick(rng, ([huge], [huge, huge]))
    elif place == "size":
        picture["size"] = [huge, huge]
    elif place == "index":
        picture["objects"][0]["index"] = huge
    else:
        picture["frame"] = pick(rng, ([0, 0, -huge, 1], [huge, 0, 0, 1], [0, 0, 10**400, 1], [0, 0, float("nan"), 1]))


def types(folder: Path, told: dict[str, Any], rng: np.random.Generator) -> None:
    """Put a value of another type at a place that needs its own."""
    *path, last = pick(
        rng,
        (
            *(
                ("pictures",),
                ("tensors",),
                ("task",),
                ("format",),
                ("version",),
                ("model",),
                ("labels",),
                ("explains",),
            ),
            *(("model", name) for name in ("name", "sha256", "method", "preprocess")),
            *(("pictures", 0, name) for name in ("name", "sha256", "size", "arrays", "objects", "frame")),
            *(("pictures", 1, "objects", 0, name) for name in ("target", "index", "score", "box", "map", "why")),
            *(("tensors", "maps", name) for name in ("file", "dtype", "shape", "sha256", "order")),
        ),
    )
    inner: Any = told
    for part in path:
        inner = inner[part]
    inner[last] = pick(rng, ({"x": {"y": []}}, [[[]]], True, [None, {}], [True, False]))


def names(folder: Path, told: dict[str, Any], rng: np.random.Generator) -> None:
    """Name a file elsewhere."""
    pick(rng, list(told["tensors"].values()))["file"] = pick(rng, PATHS)


KINDS: tuple[Mutation, ...] = (cut, shapes, lengths, types, names)


def mutated(folder: Path, whole: Path, kind: Mutation, seed: int) -> Path:
    """Write a mutation of the recording *whole*, under hashes that fit unless it is a truncated file."""
    shutil.copytree(whole, folder)
    told = json.loads((folder / "recording.json").read_text())
    kind(folder, told, np.random.default_rng([KINDS.index(kind), seed]))
    if kind is not cut:
        del told["seal"]
        (folder / "recording.json").write_bytes(sealed(told))
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("recording") / "whole")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_mutation_is_one_line(kind: Mutation, whole: Path, tmp_path: Path) -> None:
    for seed in range(EACH):
        folder = mutated(tmp_path / f"{seed}", whole, kind, seed)
        for pair in ((whole, folder), (folder, whole)):
            with pytest.raises(OnnxcamError) as caught:
                compare_recordings(*pair)
            assert "\n" not in str(caught.value), seed
            assert len(str(caught.value)) < 1000, seed


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_command(kind: Mutation, whole: Path, onnxcam: Callable[..., Ran], tmp_path: Path) -> None:
    folder = mutated(tmp_path / "bad", whole, kind, EACH)
    done = onnxcam("compare", whole, folder, "-o", tmp_path / "report")
    assert (done.code, len(done.err.strip().splitlines())) == (2, 1), done.err
    assert done.err.startswith("error:")
    assert not (tmp_path / "report").exists()
