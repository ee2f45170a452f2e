"""The page's server gives out its folder's files to this machine, and bears with any client."""

from __future__ import annotations

import http.client
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from onnxcam.errors import OutputError
from onnxcam.web import runtime as webruntime
from onnxcam.web import server as webserver
from onnxcam.web.server import HEADERS, server

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
SECRET = "not to be seen"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small page, and what lies beside it."""
    folder = tmp_path / "site"
    (folder / "runtime").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text(SECRET)
    for name in ("index.html", "app.js", "style.css", "icon.svg", "site.json", "model.onnx", "two words ü.png"):
        (folder / name).write_text(name)
    for name in webruntime.FILES:
        (folder / "runtime" / name).write_text(name)
    return folder


@pytest.fixture
def port(folder: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[int]:
    """Where the folder is served. Afterwards: no thread is left, and nothing was printed."""
    before = threading.active_count()
    with server(folder) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running.server_port
        running.shutdown()
        thread.join()
    until(lambda: threading.active_count() <= before)
    assert capfd.readouterr() == ("", "")


def until(holds: Callable[[], bool], patience: float = 10) -> None:
    end = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def ask(port: int) -> Callable[..., http.client.HTTPResponse]:
    """Ask as a program that knows HTTP does."""

    def asked(path: str, host: str | None = None, method: str = "GET", **how: Any) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request(method, path, headers={} if host is None else {"Host": host}, **how)
        answer = connection.getresponse()
        answer.told = answer.read()  # type: ignore[attr-defined]
        connection.close()
        return answer

    return asked


@pytest.fixture
def say(port: int) -> Callable[[bytes], bytes]:
    """Send any bytes, and read all that comes back."""

    def said(data: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(data)
            return b"".join(iter(lambda: client.recv(2**16), b""))

    return said


def status(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.0 ")
    assert b"Traceback" not in answer
    assert SECRET.encode() not in answer
    return int(answer.split()[1])


def test_it_tells_types_and_isolates_the_page(ask: Callable[..., http.client.HTTPResponse]) -> None:
    types = {
        "/": "text/html",
        "/?query#part": "text/html",
        "/app.js": "text/javascript",
        "/style.css": "text/css",
        "/icon.svg": "image/svg+xml",
        "/site.json": "application/json",
        "/model.onnx": "application/octet-stream",
        "/two%20words%20%C3%BC.png": "image/png",
        "/runtime/ort.wasm.min.mjs": "text/javascript",
        "/runtime/ort-wasm-simd-threaded.wasm": "application/wasm",
    }
    for path, expected in types.items():
        for method in ("GET", "HEAD"):
            answer = ask(path, method=method)
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith(expected)
            assert all(answer.headers[name] == value for name, value in HEADERS.items())


@pytest.mark.parametrize(
    "path",
    [
        "/runtime",
        "/runtime/",
        "/runtime/?x",
        "/nothing.html",
        "/app.js/",
        "/%00",
        "/app.js%00",
        "/app.js%00.png",
        "/%ff%fe",
        "/%ed%a0%80",
        "/\xff",
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/%2e%2e%2fsecret.txt",
        "/..%5csecret.txt",
        "/..\\secret.txt",
        "/%252e%252e%252fsecret.txt",
        "/runtime/../../secret.txt",
        "/runtime/%2e%2e/app.js",
        "//etc/passwd",
        "/%2fetc%2fpasswd",
        "/C:%5cWindows%5cwin.ini",
        "http://localhost/app.js",
        "file:///etc/passwd",
        "*",
        "/" + "x" * 300,
        "/" + "x/" * 3000,
    ],
)
def test_it_shows_nothing_else(path: str, say: Callable[[bytes], bytes]) -> None:
    answer = say(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode("latin-1"))
    assert status(answer) == 404
    assert b"Content-Security-Policy: default-src 'none'" in answer


@pytest.mark.skipif(sys.platform == "win32", reason="needs links and pipes")
def test_links_that_leave_the_folder_and_what_is_no_file(
    folder: Path, ask: Callable[..., http.client.HTTPResponse]
) -> None:
    (folder / "out.txt").symlink_to(folder.parent / "secret.txt")
    (folder / "up").symlink_to(folder.parent, target_is_directory=True)
    (folder / "round.txt").symlink_to("round.txt")
    (folder / "dangling.txt").symlink_to("nothing")
    os.mkfifo(folder / "pipe.txt")
    for path in ("/out.txt", "/up/secret.txt", "/up/", "/round.txt", "/dangling.txt", "/pipe.txt"):
        assert ask(path).status == 404, path
    (folder / "in.js").symlink_to("app.js")
    assert ask("/in.js").status == 200
    (folder / "index.html").unlink()
    (folder / "index.html").symlink_to(folder.parent / "secret.txt")
    assert ask("/").status == 404


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        (["localhost"], 200),
        (["LOCALHOST:80"], 200),
        (["127.0.0.1:8765"], 200),
        ([], 421),
        ([""], 421),
        (["evil.example"], 421),
        (["evil.example:80"], 421),
        (["localhost.evil.example:80"], 421),
        (["localhost:80.evil.example"], 421),
        (["evil@localhost"], 421),
        (["127.0.0.2"], 421),
        (["localhost", "evil.example"], 421),
    ],
)
def test_only_this_machine_is_answered_by_name(hosts: list[str], expected: int, say: Callable[[bytes], bytes]) -> None:
    told = "".join(f"Host: {host}\r\n" for host in hosts)
    assert status(say(f"GET / HTTP/1.1\r\n{told}\r\n".encode())) == expected


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "get", "\x1b[31m"])
def test_only_get_and_head(method: str, say: Callable[[bytes], bytes]) -> None:
    answer = say(f"{method} / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\n\r\n".encode() + b"x" * 300_000)
    assert status(answer) == 501
    assert b"\x1b" not in answer


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nx: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + (b"x: " + b"y" * 30_000 + b"\r\n") * 90 + b"\r\n", 431),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
    ],
)
def test_requests_that_are_too_long_or_of_the_future(
    request_: bytes, expected: int, say: Callable[[bytes], bytes]
) -> None:
    assert status(say(request_)) == expected


def test_what_is_no_request(say: Callable[[bytes], bytes], ask: Callable[..., http.client.HTTPResponse]) -> None:
    for data in (
        b"\r\n",
        b"\0" * 100 + b"\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/x\r\n\r\n",
        b"\x16\x03\x01\x02\0\r\n\r\n",
    ):
        assert b"Traceback" not in say(data)
    assert ask("/").status == 200


def test_clients_that_are_silent_or_slow_are_hung_up_on(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webserver, "PATIENCE", 0.4)
    clients = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(3)]
    began = time.monotonic()
    for letter in GET[:-1] * 9:  # of the two that begin, one goes on for ever, a byte at a time
        time.sleep(0.05)
        try:
            clients[0].sendall(bytes([letter]))
        except OSError:
            break
        if letter == GET[0]:
            clients[1].sendall(b"GET / HT")
    assert time.monotonic() - began < 5
    assert [ended(client) for client in clients] == [True] * 3


def ended(client: socket.socket) -> bool:
    """Whether the server hung up, without an answer."""
    with client:
        try:
            return client.recv(1) == b""
        except ConnectionError:
            return True


def test_a_client_that_takes_nothing_is_hung_up_on(port: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webserver._Handler, "timeout", 0.3)
    monkeypatch.setattr(webserver, "PATIENCE", 0.3)
    (folder / "model.onnx").write_bytes(bytes(30_000_000))
    before = threading.active_count()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(GET.replace(b"/ ", b"/model.onnx ", 1))
        until(lambda: threading.active_count() > before)
        until(lambda: threading.active_count() == before)


def test_connections_are_counted(port: int, ask: Callable[..., http.client.HTTPResponse]) -> None:
    before = threading.active_count()
    waiting = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(webserver.CONNECTIONS)]
    until(lambda: threading.active_count() == before + webserver.CONNECTIONS)
    for _ in range(50):
        assert ended(socket.create_connection(("127.0.0.1", port), timeout=10))
    assert threading.active_count() == before + webserver.CONNECTIONS
    for client in waiting:
        client.close()
    until(lambda: threading.active_count() == before)
    assert ask("/").status == 200


def test_clients_that_hang_up_early_print_nothing(port: int, folder: Path) -> None:
    (folder / "model.onnx").write_bytes(bytes(30_000_000))
    before = threading.active_count()
    for sent in (b"", b"GET", GET.replace(b"/ ", b"/model.onnx ", 1)):
        client = socket.create_connection(("127.0.0.1", port), timeout=10)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with a reset
        client.sendall(sent)
        client.close()
    until(lambda: threading.active_count() == before)


def test_a_taken_port_is_an_error() -> None:
    with server(".") as running, pytest.raises(OutputError, match=r"port \d+: .* in use; choose another with --port"):
        server(".", running.server_port)
