"""The page's folder, its server, and where onnxruntime-web comes from."""

from __future__ import annotations

import http.client
import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import onnxcam as package
from onnxcam.edge import site as sites
from onnxcam.edge import webruntime
from onnxcam.edge.bake import bake
from onnxcam.edge.webserver import HEADERS
from onnxcam.errors import ModelError, OutputError, RuntimeFilesError
from tests.edge.test_bake import SHAPES


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
    assert set(wanted.values()) == {webruntime.VERSION}


def test_the_folder_holds_the_page_and_the_model(runtime: Path, tmp_path: Path) -> None:
    made = bake(SHAPES, tmp_path / "mine.onnx", inside=True)
    folder = sites.build(tmp_path / "site", model=made.path, runtime=runtime)
    page = {file.name for file in (Path(package.__file__).parent / "web").iterdir()}
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
    html = (Path(package.__file__).parent / "web" / "index.html").read_text()
    own = HEADERS["Content-Security-Policy"].removesuffix("; frame-ancestors 'none'")  # not allowed in a page
    assert f'content="{own}"' in html
    assert not [word for word in html.split('"') if urlsplit(word).scheme in ("http", "https")]
