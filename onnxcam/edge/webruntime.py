"""onnxruntime-web, which runs models in a browser: one pinned release of its npm package, fetched once and checked."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import os
import sys
import tarfile
import time
import urllib.request
from pathlib import Path
from typing import IO

from onnxcam import files as writing
from onnxcam.errors import OutputError, RuntimeFilesError

VERSION = "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""Of the package's dist/: the interface, and the engine for the CPU in WebAssembly."""
REGISTRY = "https://registry.npmjs.org"
TIMEOUT = 60  # seconds without a byte
LONGEST = 1800  # seconds for all of it
BYTES = 2**27
"""Of the package, and of each of the `FILES`, at most; the package has 32 MiB."""

_BY_HAND = f"on a machine that can, run `npm pack onnxruntime-web@{VERSION}`, and give the file with --runtime"


def files(source: str | os.PathLike[str] | None = None) -> dict[str, bytes]:
    """Return the `FILES` by name: of *source*, the npm package as a folder or .tgz, else of the cache or the registry.

    RuntimeFilesError where they cannot be had, or where a .tgz is not the release that is pinned here.
    """
    if source is None:
        return _unpacked(_cached())
    path = Path(source)
    if os.path.isdir(path):
        return _of_folder(path)
    return _unpacked(_checked(_given(path), str(path)))


def _of_folder(path: Path) -> dict[str, bytes]:
    folder = path / "dist" if os.path.isdir(path / "dist") else path
    return {name: _given(folder / name) for name in FILES}


def _given(path: Path) -> bytes:
    """Return what the regular file *path* holds; a device or a pipe could go on for ever."""
    try:
        os.stat(path)
        if not os.path.isfile(path):
            raise OSError(0, "no regular file")
        with open(path, "rb") as file:
            return _read(file, str(path))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise RuntimeFilesError(f"{path}: {why}; give --runtime the npm package onnxruntime-web {VERSION}") from None


def _read(file: IO[bytes], where: str, seconds: float = LONGEST) -> bytes:
    """Return all that *file* gives, or raise RuntimeFilesError where that is too much or takes too long."""
    end, parts, left = time.monotonic() + seconds, list[bytes](), BYTES
    while part := file.read1(2**20) if isinstance(file, http.client.HTTPResponse) else file.read(2**20):
        left -= len(part)
        if left < 0 or time.monotonic() > end:
            why = f"has more than {BYTES:,} bytes" if left < 0 else f"is not there after {seconds:.0f} s"
            raise RuntimeFilesError(f"{where} {why}; {_BY_HAND}")
        parts.append(part)
    return b"".join(parts)


def _unpacked(package: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        members = ((name, archive.extractfile(f"package/dist/{name}")) for name in FILES)
        return {name: member.read() for name, member in members if member is not None}


def _cached() -> bytes:
    """Return the package, from the cache if it is there whole."""
    path = cache() / f"onnxruntime-web-{VERSION}.tgz"
    if path.is_file() and integrity(package := path.read_bytes()) == INTEGRITY:
        return package
    package = _fetched()
    try:
        with writing.writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        writing.write(path, package, overwrite=True)
    except OutputError as error:
        raise OutputError(f"{error}; XDG_CACHE_HOME names another folder") from None
    return package


def _fetched() -> bytes:
    registry = next((value for name, value in os.environ.items() if name.lower() == "npm_config_registry"), REGISTRY)
    url = f"{registry.rstrip('/')}/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
    if not url.startswith(("https://", "http://")):
        raise RuntimeFilesError(f"{url}: no web address; correct NPM_CONFIG_REGISTRY")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            return _checked(answer.read(), url)
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        raise RuntimeFilesError(f"{url} cannot be fetched ({reason}); {_BY_HAND}") from None


def _checked(package: bytes, where: str) -> bytes:
    if integrity(package) != INTEGRITY:
        raise RuntimeFilesError(
            f"{where} is not onnxruntime-web {VERSION} as published: its SHA-512 differs; {_BY_HAND}"
        )
    return package


def integrity(package: bytes) -> str:
    """Return the hash of *package* as npm writes it."""
    return "sha512-" + base64.b64encode(hashlib.sha512(package).digest()).decode()


def cache() -> Path:
    """Return the user's folder for what can be fetched again."""
    home = Path.home()
    if sys.platform == "win32":
        own = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        own = home / "Library" / "Caches"
    else:
        own = home / ".cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or own) / "onnxcam"
