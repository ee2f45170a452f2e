"""The page's folder, its server, and where onnxruntime-web comes from."""

from __future__ import annotations

import http.client
import io
import json
import os
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import onnxcam as package
from onnxcam.bake.bake import bake
from onnxcam.errors import ModelError, OutputError, RuntimeFilesError
from onnxcam.web import runtime as webruntime
from onnxcam.web import site as sites
from onnxcam.web.server import HEADERS
from tests.bake.baked import SHAPES


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """A folder that stands for the npm package."""
    dist = tmp_path / "package" / "dist"
    dist.mkdir(parents=True)
    for name in webruntime.FILES:
        (dist / name).write_text(name)
    return dist.parent


@pytest.fixture
def tarball(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The same as a .tgz that is the pinned one."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(runtime, "package")
    monkeypatch.setattr(webruntime, "INTEGRITY", webruntime.integrity(buffer.getvalue()))
    return buffer.getvalue()


@pytest.fixture
def registry(tarball: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """An npm registry of one package, and an empty cache; what it gives out may be replaced."""
    told: dict[str, Any] = {"data": tarball, "asked": []}

    class Registry(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told["asked"].append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(told["data"])

        def log_message(self, *_: Any) -> None: ...

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{running.server_port}/npm/")
        yield told
        running.shutdown()
        thread.join()


def test_the_release_is_fetched_once_and_checked(registry: dict[str, Any]) -> None:
    expected = {name: name.encode() for name in webruntime.FILES}
    assert webruntime.files() == expected
    assert webruntime.files() == expected
    assert registry["asked"] == [f"/npm/onnxruntime-web/-/onnxruntime-web-{webruntime.VERSION}.tgz"]
    (kept,) = webruntime.cache().iterdir()
    kept.write_bytes(kept.read_bytes()[:100])  # a cache that was cut off is filled again
    assert webruntime.files() == expected
    assert len(registry["asked"]) == 2


def test_another_package_is_refused(registry: dict[str, Any]) -> None:
    registry["data"] = b"something else"
    with pytest.raises(
        RuntimeFilesError, match=r"is not onnxruntime-web .* its SHA-512 differs; on a machine that can"
    ):
        webruntime.files()
    assert not webruntime.cache().exists()


def test_without_a_network_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:9")
    with pytest.raises(RuntimeFilesError, match=r"cannot be fetched \(.*refused\); .*`npm pack onnxruntime-web@"):
        webruntime.files()


def test_a_file_or_folder_of_ones_own(runtime: Path, tarball: bytes, tmp_path: Path) -> None:
    (tmp_path / "own.tgz").write_bytes(tarball)
    assert webruntime.files(tmp_path / "own.tgz") == webruntime.files(runtime) == webruntime.files(runtime / "dist")
    (runtime / "dist" / webruntime.FILES[0]).unlink()
    with pytest.raises(RuntimeFilesError, match="No such file or directory; give --runtime the folder of the npm"):
        webruntime.files(runtime)
    with pytest.raises(RuntimeFilesError, match="no such file or folder; give the npm package onnxruntime-web 1"):
        webruntime.files(tmp_path / "nowhere")


def test_the_tests_run_the_pinned_release() -> None:
    wanted = json.loads((Path(__file__).parent / "package.json").read_text())["dependencies"]
    assert {version for name, version in wanted.items() if name.startswith("onnxruntime")} == {webruntime.VERSION}


def test_the_folder_holds_the_page_and_the_model(runtime: Path, tmp_path: Path) -> None:
    made = bake(SHAPES, tmp_path / "mine.onnx", inside=True)
    folder = sites.build(tmp_path / "site", model=made.path, runtime=runtime)
    page = {file.name for file in (Path(package.__file__).parent / "web" / "page").iterdir()}
    assert page | {"runtime", "site.json", "model.onnx", "example.onnx", "example.png"} == {
        f.name for f in folder.iterdir()
    }
    told = json.loads((folder / "site.json").read_text())
    assert told["model"] == {"file": "model.onnx", "name": "mine.onnx"}
    assert (folder / "model.onnx").read_bytes() == made.path.read_bytes()


def test_what_cannot_be_a_site(runtime: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"shapes.onnx is not baked; run `onnxcam bake .* --target input` and give that"
    ):
        sites.build(tmp_path / "site", model=SHAPES, runtime=runtime)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write into output folder .* choose another with -o"):
        sites.build(tmp_path / "file", runtime=runtime)


def test_the_command_writes_it(onnxcam: Callable[..., Any], runtime: Path) -> None:
    ran = onnxcam("web", "--runtime", runtime)
    assert ran.code == 0
    assert Path("site", "index.html").is_file()
    assert "python -m http.server -d site" in ran.out


def test_the_command_serves_it(
    onnxcam: Callable[..., Any], runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def served(running: ThreadingHTTPServer) -> None:  # as if Ctrl+C came after one request
        assert running.server_address[0] == "127.0.0.1"
        client = http.client.HTTPConnection("127.0.0.1", running.server_port, timeout=10)
        client.request("GET", "/site.json")
        running.handle_request()
        seen.append(json.loads(client.getresponse().read()))
        client.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", served)
    made = bake(SHAPES, tmp_path / "mine.onnx", inside=True)
    ran = onnxcam("serve", "--model", made.path, "--port", 0, "--runtime", runtime)
    assert ran.code == 0
    assert ran.out.startswith("http://localhost:")
    assert seen[0]["model"]["name"] == "mine.onnx"


def test_the_pages_own_rules_are_the_servers() -> None:
    html = (Path(package.__file__).parent / "web" / "page" / "index.html").read_text()
    own = HEADERS["Content-Security-Policy"].removesuffix("; frame-ancestors 'none'")  # not allowed in a page
    assert f'content="{own}"' in html
    assert not [word for word in html.split('"') if urlsplit(word).scheme in ("http", "https")]


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A .tgz of *members*."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as made:
        for info, data in members:
            made.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def member(name: str, data: bytes = b"", **told: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in told.items():
        setattr(info, key, value)
    return info, data


GOOD = [member(f"package/dist/{name}", name.encode()) for name in webruntime.FILES]


def test_members_elsewhere_are_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = [member(name, b"x") for name in ("../../up.txt", str(tmp_path / "absolute.txt"), "package/dist/../../a.txt")]
    away += [member("link", type=tarfile.SYMTYPE, linkname=str(tmp_path)), member("link/through.txt", b"x")]
    package = archive(*away, *GOOD)
    monkeypatch.setattr(webruntime, "INTEGRITY", webruntime.integrity(package))
    (tmp_path / "a.tgz").write_bytes(package)
    assert webruntime.files(tmp_path / "a.tgz") == {name: name.encode() for name in webruntime.FILES}
    assert [path.name for path in tmp_path.iterdir()] == ["a.tgz"]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "ort.wasm.min.mjs"),
        (GOOD[1:], "ort.wasm.min.mjs"),
        ([member(GOOD[0][0].name, type=tarfile.SYMTYPE, linkname="/etc/passwd"), *GOOD[1:]], "no regular file"),
        ([member(GOOD[0][0].name, type=tarfile.LNKTYPE, linkname=GOOD[1][0].name), *GOOD[1:]], "no regular file"),
        ([member(GOOD[0][0].name, type=tarfile.FIFOTYPE), *GOOD[1:]], "no regular file"),
        ([member(GOOD[0][0].name, type=tarfile.CHRTYPE), *GOOD[1:]], "no regular file"),
        ([member(GOOD[0][0].name, type=tarfile.DIRTYPE), *GOOD[1:]], "no regular file"),
        ([member(GOOD[0][0].name, b"x" * 2000), *GOOD[1:]], "no regular file below 1,000 bytes"),
    ],
)
def test_members_that_are_not_what_they_should_be(
    members: list[Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webruntime, "BYTES", 1000)
    with pytest.raises(RuntimeFilesError, match=rf"cannot be unpacked \(.*{message}.*\); on a machine that can"):
        webruntime._unpacked(archive(*members))


@pytest.mark.parametrize("data", [b"", b"x" * 600, archive(*GOOD)[:60]], ids=["empty", "text", "cut"])
def test_packages_that_are_no_archive(data: bytes) -> None:
    with pytest.raises(RuntimeFilesError, match=r"cannot be unpacked \(.*\); on a machine that can"):
        webruntime._unpacked(data)


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes and devices")
def test_what_is_no_package_is_refused_at_once(runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(bytes(2000))
    (tmp_path / "round").symlink_to("round")
    monkeypatch.setattr(webruntime, "BYTES", 1000)
    for path, why in {
        tmp_path / "pipe": "no regular file; give the npm package",
        Path("/dev/zero"): "no regular file; give the npm package",
        tmp_path / "large": "has more than 1,000 bytes; on a machine",
        tmp_path / "round": "no such file or folder; give the npm package",
        Path("x" * 300): "no such file or folder; give the npm package",
        Path("a\0b"): "no such file or folder; give the npm package",
    }.items():
        with pytest.raises(RuntimeFilesError, match=why):
            webruntime.files(path)
    (runtime / "dist" / webruntime.FILES[1]).unlink()
    os.mkfifo(runtime / "dist" / webruntime.FILES[1])
    with pytest.raises(RuntimeFilesError, match="no regular file; give --runtime the folder"):
        webruntime.files(runtime)


def test_the_command_says_it_in_one_line(onnxcam: Callable[..., Any]) -> None:
    ran = onnxcam("web", "-o", "w", "--runtime", "x" * 300)
    assert ran.code == 2
    assert len(ran.err.splitlines()) == 1
    assert "no such file or folder; give the npm package" in ran.err
    assert not Path("w").exists()


def test_a_registry_that_never_ends(registry: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    registry["data"] = bytes(3000)
    monkeypatch.setattr(webruntime, "BYTES", 1000)
    with pytest.raises(RuntimeFilesError, match=r"http://.* has more than 1,000 bytes; on a machine"):
        webruntime.files()
    monkeypatch.setattr(webruntime, "BYTES", 10**6)
    monkeypatch.setattr(webruntime, "LONGEST", -1)
    with pytest.raises(RuntimeFilesError, match=r"http://.* is not there after -1 s; on a machine"):
        webruntime.files()


@pytest.mark.parametrize("url", ["http://localhost:port", "http://[::1", "http://a b", "http://" + "x" * 300])
def test_addresses_that_are_none(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", url)
    with pytest.raises(RuntimeFilesError, match="cannot be fetched"):
        webruntime.files()


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes")
def test_a_cache_that_is_no_file(registry: dict[str, Any], tmp_path: Path) -> None:
    kept = webruntime.cache() / f"onnxruntime-web-{webruntime.VERSION}.tgz"
    kept.parent.mkdir(parents=True)
    os.mkfifo(kept)
    with pytest.raises(OutputError, match=r"is no plain file; .*; XDG_CACHE_HOME names another folder"):
        webruntime.files()
    kept.unlink()
    assert webruntime.files() == {name: name.encode() for name in webruntime.FILES}
    assert kept.is_file()


def test_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", none)
    with pytest.raises(OutputError, match="no home folder is known; set XDG_CACHE_HOME to a folder"):
        webruntime.cache()
