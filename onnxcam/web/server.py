"""Web server of the page for this machine only, with the headers that allow multithreading in the browser.

It serves the regular files of one folder and nothing else. Resources per client are limited: connections
(`CONNECTIONS`), size of a request (`REQUEST_BYTES`), and time to send it (`PATIENCE`).
"""

from __future__ import annotations

import io
import os
import re
import socket
import sys
import threading
import time
from functools import partial
from http import HTTPStatus
from http.client import LineTooLong
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from onnxcam.errors import OutputError
from onnxcam.text import visible

__all__ = ["CONNECTIONS", "GOODBYE", "HEADERS", "HOST", "PATIENCE", "REQUEST_BYTES", "server"]

HOST = "127.0.0.1"
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
    "connect-src 'self'; style-src 'self'; img-src 'self'; media-src 'self' blob:; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""The first two isolate the page, which browsers require for shared memory and threads."""

CONNECTIONS = 32
"""Maximum open connections; further ones are closed at once. A browser opens six."""
REQUEST_BYTES = 2**17
"""Maximum size of a request line and its headers; Python limits one line to 64 KiB."""
PATIENCE = 10.0
"""Time limit in seconds to send a whole request, and to receive each part of the response."""
GOODBYE = 1.0
"""Time limit in seconds to hang up after the response; closing earlier could lose it (RFC 9112, 9.6)."""

_NAMES = re.compile(rf"(localhost|{re.escape(HOST)})(:\d+)?", re.IGNORECASE | re.ASCII)


class _Request(io.RawIOBase):
    """Request stream, limited to `REQUEST_BYTES` and `PATIENCE` seconds."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._end, self._left = time.monotonic() + PATIENCE, REQUEST_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._left <= 0:
            raise LineTooLong("request")
        self._connection.settimeout(max(self._end - time.monotonic(), 1e-3))
        try:
            count = self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(PATIENCE)
        self._left -= count
        return count


class _Handler(SimpleHTTPRequestHandler):
    server_version, sys_version = "onnxcam", ""
    timeout = PATIENCE
    extensions_map = {  # noqa: RUF012  # the system's list of types may be wrong
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".json": "application/json",
        ".webmanifest": "application/manifest+json",
        ".svg": "image/svg+xml",
        ".onnx": "application/octet-stream",
    }

    def setup(self) -> None:
        """Read requests through `_Request`."""
        super().setup()
        self.rfile = io.BufferedReader(_Request(self.connection))

    def send_head(self) -> Any:
        """Refuse foreign host names, which are a sign of DNS rebinding."""
        names = self.headers.get_all("Host", [])
        if len(names) != 1 or not _NAMES.fullmatch(names[0].strip()):
            return self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        try:
            found = self._finds_a_file()
        except (OSError, ValueError):  # invalid file name
            found = False
        return super().send_head() if found else self.send_error(HTTPStatus.NOT_FOUND)

    def _finds_a_file(self) -> bool:
        """Whether the address is a regular file inside the folder, also through links."""
        address = unquote(re.split(r"[?#]", self.path)[0])
        if ".." in re.split(r"[/\\]", address):
            return False
        name = os.path.join(self.translate_path(self.path), "index.html" if address == "/" else "")
        path = Path(os.path.realpath(name))
        return path.is_relative_to(os.path.realpath(self.directory)) and path.is_file()

    def send_response(self, code: int, message: str | None = None) -> None:
        """Send a status line, even if the HTTP version of the client is unknown."""
        self.request_version = self.protocol_version
        super().send_response(code, message)

    def end_headers(self) -> None:
        """Add `HEADERS`."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    request_queue_size = CONNECTIONS

    def __init__(self, *words: Any) -> None:
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__(*words)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread, or hang up if the limit is reached."""
        if not self._free.acquire(blocking=False):
            return self.close_request(request)
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Free the connection at the end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def shutdown_request(self, request: Any) -> None:
        """End the response and wait until the client hangs up."""
        end = time.monotonic() + GOODBYE
        try:
            request.shutdown(socket.SHUT_WR)
            request.settimeout(GOODBYE)
            while time.monotonic() < end and request.recv(2**16):
                pass
        except OSError:
            pass
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that hang up early; print other errors."""
        error = sys.exception()
        if not isinstance(error, OSError):
            print(f"warning: a request failed: {visible(repr(error), 400)}", file=sys.stderr)


def server(directory: str | os.PathLike[str], port: int = 0) -> ThreadingHTTPServer:
    """Return a server of *directory* at 127.0.0.1; run it with ``serve_forever``. *port* 0 takes a free port.

    Raises:
        OutputError: the port is in use.
    """
    try:
        return _Server((HOST, port), partial(_Handler, directory=os.fspath(directory)))
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise OutputError(f"port {port}: {why}; choose another with --port") from None
