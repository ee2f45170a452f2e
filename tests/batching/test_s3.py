"""A real object store, served on this machine: pictures from it and results to it."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onnxcam.batching.batch import batch
from onnxcam.batching.merge import merge
from onnxcam.errors import ImageError, ModelError, OnnxcamError
from tests.batching.pictures import SHAPES, content, folder

s3fs = pytest.importorskip("s3fs", reason="no s3fs: pip install s3fs")
moto = pytest.importorskip("moto.server", reason="no moto: pip install 'moto[server]'")


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket on a server of this machine."""
    monkeypatch.chdir(tmp_path)
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", b"").close()
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    system.mkdir("photos")
    system.mkdir("results")
    yield system
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_the_same_rows_as_from_a_folder(bucket: Any) -> None:
    folder(Path("here"), 9, broken=(4,))
    bucket.put("here", "photos/in", recursive=True)
    for n in range(2):
        batch(SHAPES, "s3://photos/in", "s3://results/out", shard=f"{n}/2", part_size=4, overlays={})
    assert merge(["s3://results/out"], "merged").rows == 9
    again = batch(SHAPES, "s3://photos/in", "s3://results/out", shard="0/2", part_size=4, overlays={})
    assert again.errors <= 1
    batch(SHAPES, "here", "local", part_size=4, overlays={})
    remote, local = content("merged"), content("local")
    assert remote.keys() == local.keys()
    assert {name: data for name, data in remote.items() if name.startswith("overlays")} == {
        name: data for name, data in local.items() if name.startswith("overlays")
    }
    bucket.put(SHAPES, "photos/model.onnx")
    batch("s3://photos/model.onnx", "here", "s3://results/out", part_size=4, overwrite=True)
    assert sorted(name.rpartition("/")[2] for name in bucket.ls("results/out")) == [
        "batch.json",
        "part-000000.parquet",
        "part-000001.parquet",
        "part-000002.parquet",
        "summary.json",
    ]


def test_what_is_not_there(bucket: Any) -> None:
    folder(Path("here"), 1)
    with pytest.raises(ImageError, match="s3://photos/none: no image is there; check the address"):
        batch(SHAPES, "s3://photos/none", "out")
    with pytest.raises(OnnxcamError, match="s3://missing/out"):
        batch(SHAPES, "here", "s3://missing/out")
    with pytest.raises(ModelError, match=r"s3://photos/none\.onnx: no such file or folder; check the address"):
        batch("s3://photos/none.onnx", "here", "out")
