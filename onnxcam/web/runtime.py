"""Get onnxruntime-web, the browser runtime: a pinned release of its npm package, downloaded once and verified."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import os
import stat
import sys
import tarfile
import time
import urllib.request
import zlib
from pathlib import Path

from onnxcam import files as writing
from onnxcam.errors import OutputError, RuntimeFilesError

__all__ = [
    "BYTES",
    "FILES",
    "INTEGRITY",
    "LONGEST",
    "REGISTRY",
    "TIMEOUT",
    "VERSION",
    "WEBGPU_FILES",
    "cache",
    "files",
    "integrity",
]

VERSION = "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""Files from dist/ of the package: the API, and the CPU engine in WebAssembly."""
WEBGPU_FILES = (
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
"""The same with WebGPU, 27 MB."""
REGISTRY = "https://registry.npmjs.org"
TIMEOUT = 60  # seconds without data
LONGEST = 1800  # seconds for the whole download
BYTES = 2**27
"""Maximum size of the package and of each file; the package has 32 MiB."""

_BY_HAND = f"on a machine that can, run `npm pack onnxruntime-web@{VERSION}`, and give the file with --runtime"


def files(source: str | os.PathLike[str] | None = None, *, webgpu: bool = False) -> dict[str, bytes]:
    """Return the `FILES` by name, from *source* (the npm package as a folder or .tgz), the cache or the registry.

    With *webgpu* the `WEBGPU_FILES` too.

    Raises:
        RuntimeFilesError: the files are not available, or a .tgz is not the pinned release.
    """
    names = FILES + WEBGPU_FILES * webgpu
    if source is None:
        return _unpacked(_cached(), names)
    path = Path(source)
    advice = f"give the npm package onnxruntime-web {VERSION}"
    if not os.path.exists(path):
        raise RuntimeFilesError(f"{path}: no such file or folder; {advice}")
    if os.path.isdir(path):
        return _of_folder(path, names)
    return _unpacked(_checked(_given(path, advice), str(path)), names)


def _of_folder(path: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    folder = path / "dist" if os.path.isdir(path / "dist") else path
    advice = "give --runtime the folder of the npm package onnxruntime-web"
    return {name: _given(folder / name, advice) for name in names}


def _given(path: Path, advice: str) -> bytes:
    """Return the content of the regular file *path*; devices and pipes are refused, as they may never end."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("no regular file")
        with open(path, "rb") as file:
            return _read(file, str(path))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise RuntimeFilesError(f"{path}: {why}; {advice}") from None


def _read(file: io.BufferedIOBase, where: str) -> bytes:
    """Read *file* to its end; raise RuntimeFilesError if it is too large or too slow."""
    end, read = time.monotonic() + LONGEST, bytearray()
    while part := file.read1(2**20):
        read += part
        if len(read) > BYTES:
            raise RuntimeFilesError(f"{where} has more than {BYTES:,} bytes; {_BY_HAND}")
        if time.monotonic() > end:
            raise RuntimeFilesError(f"{where} is not there after {LONGEST} s; {_BY_HAND}")
    return bytes(read)


def _unpacked(package: bytes, names: tuple[str, ...] = FILES) -> dict[str, bytes]:
    try:
        with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as archive:
            return {name: _member(archive, f"package/dist/{name}") for name in names}
    except (tarfile.TarError, KeyError, EOFError, OSError, zlib.error) as error:
        raise RuntimeFilesError(f"the npm package onnxruntime-web cannot be unpacked ({error}); {_BY_HAND}") from None


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    """Return the content of the member *name*, in memory: no name in the archive becomes a path."""
    member = archive.getmember(name)
    file = archive.extractfile(member) if member.isreg() and member.size <= BYTES else None
    if file is None:
        raise tarfile.TarError(f"{name} is no regular file below {BYTES:,} bytes")
    return file.read()


def _cached() -> bytes:
    """Return the package from the cache if it is intact, otherwise download it."""
    path = cache() / f"onnxruntime-web-{VERSION}.tgz"
    package = _kept(path)
    if package is not None:
        return package
    package = _fetched()
    try:
        with writing.writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        writing.write(path, package, overwrite=True)
    except OutputError as error:
        raise OutputError(f"{error}; XDG_CACHE_HOME names another folder") from None
    return package


def _kept(path: Path) -> bytes | None:
    try:
        package = _given(path, "")
    except RuntimeFilesError:
        return None
    return package if integrity(package) == INTEGRITY else None


def _fetched() -> bytes:
    registry = next((value for name, value in os.environ.items() if name.lower() == "npm_config_registry"), REGISTRY)
    url = f"{registry.rstrip('/')}/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
    if not url.startswith(("https://", "http://")):
        raise RuntimeFilesError(f"{url}: no web address; correct NPM_CONFIG_REGISTRY")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            return _checked(_read(answer, url), url)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise RuntimeFilesError(f"{url} cannot be fetched ({reason}); {_BY_HAND}") from None


def _checked(package: bytes, where: str) -> bytes:
    if integrity(package) != INTEGRITY:
        raise RuntimeFilesError(
            f"{where} is not onnxruntime-web {VERSION} as published: its SHA-512 differs; {_BY_HAND}"
        )
    return package


def integrity(package: bytes) -> str:
    """Return the SHA-512 of *package* in npm's format."""
    return "sha512-" + base64.b64encode(hashlib.sha512(package).digest()).decode()


def cache() -> Path:
    """Return the user's cache folder of onnxcam."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or _caches(Path.home())) / "onnxcam"
    except RuntimeError:
        raise OutputError("no home folder is known; set XDG_CACHE_HOME to a folder that can be written") from None


def _caches(home: Path) -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    return home / "Library" / "Caches" if sys.platform == "darwin" else home / ".cache"
