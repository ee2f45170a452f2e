"""A hub on this machine: the part of Hugging Face's protocol that downloads a model, over folders."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """Repositories by name, each with its files by path, and what is wrong with the server.

    Attributes:
        private: Repositories that want the token ``hf_good``.
        gated: Repositories that give no access.
        damaged: Paths whose content is not what their hash says.
        broken: Paths whose download ends half-way.
        asked: The requests, and the tokens that came with them.
    """

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    address: str = ""

    def names(self, method: str = "GET") -> list[str]:
        """Return the files that were asked for."""
        return [path.rpartition("/")[2] for verb, path, _ in self.asked if verb == method and "/api/" not in path]


@contextmanager
def serving() -> Iterator[FakeHub]:
    """Serve an empty hub on a free port of this machine."""
    hub = FakeHub()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Print nothing where a client closes a connection."""


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        parts, token = urlsplit(self.path), self.headers.get("Authorization")
        self.hub.asked.append((self.command, unquote(parts.path), token))
        words = unquote(parts.path).strip("/").split("/")
        name = "/".join(words[2:4] if words[:2] == ["api", "models"] else words[:2])
        files = self.hub.repositories.get(name)
        if token not in (None, "Bearer hf_good"):
            return self._refuse(401, None, "Invalid credentials in Authorization header")
        if files is None or (name in self.hub.private and token is None):
            return self._refuse(401, "RepoNotFound", "Repository not found")
        if name in self.hub.gated:
            return self._refuse(403, "GatedRepo", "Access to this repository is restricted")
        if words[2:3] == ["stored"]:
            return self._file(files, "/".join(words[3:]), body)
        if words[:2] == ["api", "models"]:
            revision = words[5] if words[4:5] == ["revision"] else "main"
            return self._describe(name, files, revision, "blobs" in parse_qs(parts.query))
        return self._resolve(name, files, "/".join(words[4:]), body)

    def _describe(self, name: str, files: dict[str, bytes], revision: str, blobs: bool) -> None:
        if revision not in ("main", "v1", COMMIT):
            return self._refuse(404, "RevisionNotFound", "Invalid rev id")
        siblings = [{"rfilename": path, **(_about(data) if blobs else {})} for path, data in files.items()]
        return self._send(json.dumps({"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings}).encode())

    def _resolve(self, name: str, files: dict[str, bytes], path: str, body: bool) -> None:
        """Send a file; a large one, of Git LFS, by a redirect to the storage."""
        if path not in files:
            return self._refuse(404, "EntryNotFound", "Entry not found")
        if ".onnx" not in path:
            return self._file(files, path, body)
        etag, size = f'"{hashlib.sha256(files[path]).hexdigest()}"', str(len(files[path]))
        headers = {"X-Repo-Commit": COMMIT, "X-Linked-Etag": etag, "X-Linked-Size": size}
        return self._send(b"", {**headers, "Location": f"{self.hub.address}/{name}/stored/{quote(path)}"}, status=302)

    def _file(self, files: dict[str, bytes], path: str, body: bool) -> None:
        data = files[path]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(data).hexdigest()}"', "Accept-Ranges": "bytes"}
        if path in self.hub.damaged:
            data = bytes(len(data))
        cut = len(data) // 2 if path in self.hub.broken and body else None
        return self._send(data, headers, body=body, cut=cut)

    def _send(
        self,
        data: bytes,
        headers: dict[str, str] | None = None,
        *,
        status: int = 200,
        body: bool = True,
        cut: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data[:cut])
        if cut is not None:
            self.close_connection = True

    def _refuse(self, status: int, code: str | None, text: str) -> None:
        named = {"X-Error-Code": code} if code else {}
        self._send(json.dumps({"error": text}).encode(), {**named, "X-Error-Message": text}, status=status)


def _about(data: bytes) -> dict[str, object]:
    digest = hashlib.sha256(data).hexdigest()
    return {"size": len(data), "blobId": digest[:40], "lfs": {"sha256": digest, "size": len(data), "pointerSize": 1}}
