"""`merge`: what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from onnxcam.batching.batch import batch
from onnxcam.batching.merge import merge
from onnxcam.errors import OutputError
from tests.batching.pictures import SHAPES, folder, table


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures and the shards of a run over them."""
    place = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        folder(Path("photos"), 12)
        for n in range(2):
            batch(SHAPES, "photos", f"s{n}", shard=f"{n}/2", part_size=4)
    return place


@pytest.fixture
def shards(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of two shards in a copy of the folder, which is the working directory."""
    monkeypatch.chdir(shutil.copytree(made, tmp_path, dirs_exist_ok=True))
    return ["s0", "s1"]


def refused(folders: list[str], message: str) -> None:
    with pytest.raises(OutputError, match=message):
        merge(folders, "merged")
    assert not Path("merged/summary.json").exists()


def test_a_missing_shard(shards: list[str]) -> None:
    refused(["s0"], r"shard 1/2 is not complete; run `onnxcam batch … --shard 1/2` again, and name its folder")
    Path("s1/summary-1-of-2.json").unlink()
    refused(shards, r"shard 1/2 is not complete")


def test_a_missing_part(shards: list[str]) -> None:
    next(iter(sorted(Path("s1").glob("part-*.parquet")))).unlink()
    refused(shards, r"picture \d+ of the source is missing; run its shard again")


def test_the_last_part_is_missing(shards: list[str]) -> None:
    last = max(
        (path for name in shards for path in Path(name).glob("part-*.parquet")),
        key=lambda path: max(pq.read_table(path)["number"].to_pylist()),
    )
    last.unlink()
    refused(shards, r"of the source is missing|of 12 pictures of the source are there; run the shards again")


def test_a_part_twice(shards: list[str]) -> None:
    shutil.copytree("s1", "copy")
    refused([*shards, "copy"], r"'s1/(part-1-of-2-000000.parquet)' and 'copy/\1' are the same part")


def test_pictures_twice(shards: list[str]) -> None:
    shutil.copy("s1/part-1-of-2-000000.parquet", "s1/part-1-of-2-000009.parquet")
    refused(shards, r"picture \d+ of the source is there twice; run its shard again")


def test_parts_of_another_run(shards: list[str]) -> None:
    batch(SHAPES, "photos", "other", shard="1/2", part_size=4, method="layercam")
    refused(["s0", "other"], r"other: is of another run than 's0' \(other method\); merge the shards of one run")
    shutil.copy("other/part-1-of-2-000000.parquet", "s1/part-1-of-2-000000.parquet")
    refused(shards, r"s1/part-1-of-2-000000.parquet: is of another run \(other method\); remove it")


def test_runs_with_other_numbers_of_shards(shards: list[str]) -> None:
    batch(SHAPES, "photos", "three", shard="0/3", part_size=4)
    refused(["s0", "s1", "three"], "the folders hold parts of runs with 2, 3 shards; merge the shards of one run")


def test_a_damaged_part(shards: list[str]) -> None:
    part = Path("s0/part-0-of-2-000000.parquet")
    part.write_bytes(part.read_bytes()[:-20])
    refused(shards, r"s0/part-0-of-2-000000.parquet: the part is damaged \(.*\); remove it and run its shard again")


def test_no_batch(shards: list[str]) -> None:
    refused(["photos"], r"photos: no batch is there; name folders that `onnxcam batch` wrote")
    refused([], "no folder is named; name the folders that hold the shards")


def test_the_output(shards: list[str]) -> None:
    with pytest.raises(OutputError, match="s0: is read by this command; choose another folder with -o"):
        merge(shards, "s0")
    merge(shards, "merged")
    with pytest.raises(OutputError, match=r"merged: holds 'batch.json'; choose another folder with -o, or"):
        merge(shards, "merged")
    assert merge(shards, "merged", overwrite=True).rows == 12


def test_a_table_of_other_origin(shards: list[str]) -> None:
    pq.write_table(table(number=[0]), "s0/part-0-of-2-000000.parquet")
    refused(shards, r"s0/part-0-of-2-000000.parquet: no part of a batch; name folders that `onnxcam batch` wrote")
