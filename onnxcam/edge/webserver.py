"""A web server for the page on this machine alone, with the headers that let it use several threads."""

from __future__ import annotations

import os
import sys
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from onnxcam.errors import OutputError

HOST = "127.0.0.1"
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
    "connect-src 'self'; style-src 'self'; img-src 'self'; media-src 'self' blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""The first two isolate the page, for which browsers give it shared memory, and with it threads."""


class _Handler(SimpleHTTPRequestHandler):
    server_version, sys_version = "onnxcam", ""
    extensions_map = {  # noqa: RUF012  # the machine's own list may say anything of these
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".json": "application/json",
        ".svg": "image/svg+xml",
        ".onnx": "application/octet-stream",
    }

    def send_head(self) -> Any:
        """Answer by name only to this machine: a foreign name that leads here is a trick (DNS rebinding)."""
        name = self.headers.get("Host", "").rpartition(":")[0]
        if name not in ("localhost", HOST):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> None:
        """Show no folders."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        """Add ours."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of browsers that hang up early."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def server(directory: str | os.PathLike[str], port: int = 0) -> ThreadingHTTPServer:
    """Return a server of *directory* at 127.0.0.1, whose ``serve_forever`` runs it; *port* 0 takes a free one.

    OutputError where the port is taken.
    """
    try:
        return _Server((HOST, port), partial(_Handler, directory=os.fspath(directory)))
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise OutputError(f"port {port}: {why}; choose another with --port") from None
