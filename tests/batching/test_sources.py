"""Sources: what is read, in which order, under which ids, and what is refused."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onnxcam.batching import schema, worker
from onnxcam.batching.addresses import read, storage
from onnxcam.batching.manifests import read_manifest
from onnxcam.batching.sources import Picture, read_source
from onnxcam.errors import ImageError, OnnxcamError, OutputError
from onnxcam.shards import Shard
from tests.batching.pictures import folder, table


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return folder(Path("photos"), 3)


def ids(*names: str, images: str | None = None) -> list[str]:
    return list(read_source(names, images).ids())


def refused(message: str, *names: str) -> None:
    with pytest.raises(OnnxcamError, match=message):
        read_source(names)


def test_folders_patterns_and_lists() -> None:
    folder(Path("photos/more"), 1)
    assert ids("photos") == ["0000.png", "0001.png", "0002.png", "more/0000.png"]
    assert ids("photos/*1.png") == ["photos/0001.png"]
    Path("list.txt").write_text("photos/0002.png\nphotos/0000.png\n", encoding="utf-8")
    assert ids("list.txt") == ["photos/0002.png", "photos/0000.png"]
    assert list(read_source(["photos"]).pictures(1, 2)) == [Picture(1, "0001.png", "photos/0001.png")]


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_manifests(ending: str) -> None:
    columns = {"Image": ["a.png", "b.png"], "id": ["one", "two"], "target": ["cat", ""], "n": [1, 2]}
    name = f"photos/list.{ending}"
    if ending == "parquet":
        pq.write_table(table(**columns), name)
    elif ending == "jsonl":
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        mark = "," if ending == "csv" else "\t"
        lines = [mark.join(columns), *(mark.join(map(str, row)) for row in zip(*columns.values(), strict=True))]
        Path(name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = read_source([name])
    assert list(found.pictures()) == [
        Picture(0, "one", "photos/a.png", target="cat"),
        Picture(1, "two", "photos/b.png"),
    ]
    assert found.columns([1]) == [{"n": 2}]
    assert next(one.path for one in read_source([name], "s3://bucket/in").pictures()) == "s3://bucket/in/a.png"


def test_labels_of_manifests() -> None:
    pq.write_table(table(path=["a.png", "b.png"], truth=[["cat", "dog"], None]), "list.parquet")
    assert [one.truth for one in read_source(["list.parquet"]).pictures()] == [["cat", "dog"], None]
    Path("list.csv").write_text("path,truth\na.png,3\nb.png,\n", encoding="utf-8")
    assert [one.truth for one in read_source(["list.csv"]).pictures()] == [["3"], None]


def test_coco_voc_and_class_folders(photos: Path) -> None:
    images = [{"id": n, "file_name": f"000{n}.png", "width": 96, "height": 96} for n in (2, 0)]
    Path("annotations").mkdir()
    Path("annotations/instances_photos.json").write_text(
        json.dumps({"images": images, "annotations": [], "categories": []}), encoding="utf-8"
    )
    found = read_source(["annotations/instances_photos.json"])
    assert [(one.id, Path(one.path)) for one in found.pictures()] == [
        ("0002.png", Path("photos/0002.png")),
        ("0000.png", Path("photos/0000.png")),
    ]
    assert found.truth == "coco:annotations/instances_photos.json"
    Path("annotations/instances_other.json").write_text(
        Path("annotations/instances_photos.json").read_text(encoding="utf-8"), encoding="utf-8"
    )
    refused("its first image, 0002.png, is in no folder beside it; name the folder", "annotations/instances_other.json")
    assert ids("coco:annotations/instances_other.json", images="photos") == ["0002.png", "0000.png"]
    folder(Path("voc/JPEGImages"), 2)
    assert ids("voc:voc") == ["0000.png", "0001.png"]
    folder(Path("classes/cat"), 1)
    assert read_source(["imagefolder:classes"]).truth == "imagefolder:classes"
    refused("several sources have their own truth", "imagefolder:classes", "voc:voc")


def pack(name: str, **members: bytes) -> None:
    with tarfile.open(name, "w") as tar:
        for key, data in members.items():
            entry = tarfile.TarInfo(key.replace("__", "."))
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def test_webdataset() -> None:
    data = Path("photos/0000.png").read_bytes()
    pack("d-00.tar", a__png=data, a__cls=b"7", b__jpg=data + b"x")
    pack("d-01.tar", c__png=data)
    found = list(read_source(["d-{00..01}.tar"]).pictures())
    assert [one.id for one in found] == ["d-00.tar/a", "d-00.tar/b", "d-01.tar/c"]
    assert [one.truth for one in found] == [["7"], None, None]
    assert read(found[0].path, found[0].offset, found[0].size) == data
    assert read(found[1].path, found[1].offset, found[1].size) == data + b"x"
    assert ids("d-*.tar") == [one.id for one in found]
    Path("bad.tar").write_bytes(b"x" * 2000)
    refused("bad.tar: no tar file, or a damaged one", "bad.tar")
    refused(r"a\.tar\.gz: a compressed tar cannot be read at any place; gunzip it first", "a.tar.gz")
    refused("no file is called like this", "e-*.tar")
    pack("empty.tar", a__txt=b"x")
    refused("empty.tar: no image is in it", "empty.tar")


def test_what_is_refused() -> None:
    refused("2 pictures have the id photos/0000.png; give each its own", "photos/0000.png", "photos/0000.png")
    Path("list.csv").write_text("name,n\na,1\n", encoding="utf-8")
    refused(r"list.csv: no column names the pictures; call it path \(its columns: name, n\)", "list.csv")
    Path("list.csv").write_text("path,n\n,1\n", encoding="utf-8")
    refused("list.csv: row 1 has nothing in its column path; fill it in", "list.csv")
    Path("list.csv").write_text("path,n\na,1,2\n", encoding="utf-8")
    refused("list.csv: the manifest cannot be read: ", "list.csv")
    Path("list.csv").write_text("", encoding="utf-8")
    refused("list.csv: the manifest is empty", "list.csv")
    Path("list.parquet").write_bytes(b"PAR1xxxxPAR1")
    refused("list.parquet: the manifest cannot be read", "list.parquet")
    refused("none.csv: no such file; check the name", "none.csv")
    Path("list.csv").write_text("path\n", encoding="utf-8")
    refused("list.csv: there is no picture in it", "list.csv")
    Path("folder.csv").mkdir()
    with pytest.raises(ImageError, match=r"folder.csv: is a folder, not a manifest; name a file in it"):
        read_manifest("folder.csv")
    with pytest.raises(OutputError, match="the manifest's column score has the name of a column of the results; renam"):
        schema.schema(pa.schema([("score", pa.int32())]), {})
    with pytest.raises(ImageError, match="no picture is named"):
        read_source([])


def test_addresses_without_a_driver_are_no_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install gcsfs to access Google Storage")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    refused(
        r"gs://bucket/x: addresses of gs:// need gcsfs, which is not installed \(.*\); pip install gcsfs",
        "gs://bucket/x",
    )
    monkeypatch.undo()
    refused("nope://bucket/x: no storage is known for nope://; fsspec knows s3://", "nope://bucket/x")
    assert not Path("gs:").exists()


def test_errors_of_a_storage() -> None:
    message = r"s3://b/x: no permission \(denied\); check the credentials"
    with pytest.raises(ImageError, match=message), storage("s3://b/x", ImageError):
        raise PermissionError("denied")
    message = r"s3://b/x: the storage fails \(OSError: slow\); check address and credentials"
    with pytest.raises(OnnxcamError, match=message), storage("s3://b/x"):
        raise OSError("slow")
    with pytest.raises(ImageError, match=r"s3://b/v\.nii: volumes are read from files of this machine; copy it"):
        worker._local(Picture(0, "v.nii", "s3://b/v.nii"))


@pytest.mark.parametrize(
    ("room", "module", "message"),
    [
        ("batching", "pyarrow", r"batch needs PyArrow and fsspec \(.*pyarrow.*\); pip install 'onnxcam\[batch\]'"),
        ("batching", "fsspec", r"batch needs PyArrow and fsspec \(.*fsspec.*\); pip install 'onnxcam\[batch\]'"),
        (
            "auditing",
            "sklearn",
            r"audit needs PyArrow and scikit-learn \(.*\); pip install 'onnxcam\[audit\]'",
        ),
    ],
)
def test_packages_that_are_not_installed(room: str, module: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.import_module(f"onnxcam.{room}")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(OutputError, match=message):
        importlib.reload(found)


THREADS = """
import os
import pyarrow as pa
from onnxcam.batching import schema
before = len(os.listdir("/proc/self/task"))
rows = pa.table({"path": ["a"] * 1000})
assert schema.from_bytes(schema.to_bytes(rows)).equals(rows)
assert len(os.listdir("/proc/self/task")) == before
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_parquet_starts_no_thread_that_could_outlive_the_interpreter() -> None:
    subprocess.run([sys.executable, "-c", THREADS], check=True, cwd=Path(__file__).parents[2])


def test_other_storage() -> None:
    import fsspec

    system = fsspec.filesystem("memory")
    for name in ("in/a.png", "in/sub/b.png", "in/c.txt"):
        system.pipe_file(f"/{name}", b"data")
    assert ids("memory://in") == ["a.png", "sub/b.png"]
    assert ids("memory://in/*.png") == ["a.png"]
    assert ids("memory://in/a.png") == ["a.png"]
    refused("memory://out: no image is there; check the address", "memory://out")
    found = next(read_source(["memory://in"]).pictures())
    assert read(found.path) == b"data"
    assert read(found.path, 1, 2) == b"at"
    with pytest.raises(ImageError, match=r"memory://in/z\.png: no such file or folder; check the address"):
        read("memory://in/z.png")


def test_shards_split_by_the_hash_of_the_id() -> None:
    names = [f"photo-{n}.jpg" for n in range(2000)]
    shards = [Shard(n, 8) for n in range(8)]
    assert all(sum(shard.has(name) for shard in shards) == 1 for name in names)
    assert all(190 < sum(map(shard.has, names)) < 310 for shard in shards)
    assert [Shard(n, 8).has("photo-0.jpg") for n in range(8)].index(True) == 5
    assert Shard.parse("0/1") == Shard()
    assert (Shard().part(3), Shard(1, 8).part(3)) == ("part-000003.parquet", "part-1-of-8-000003.parquet")
    assert (Shard().summary, Shard(1, 8).summary) == ("summary.json", "summary-1-of-8.json")
    for wrong in ("8/8", "-1/8", "a/b", "1", "1/0", ""):
        with pytest.raises(OnnxcamError, match="is no shard; it is i/n"):
            Shard.parse(wrong)
