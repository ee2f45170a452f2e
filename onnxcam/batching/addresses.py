"""Addresses of files: paths of this machine, and of other storage through fsspec, such as ``s3://bucket/name``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from onnxcam import paths
from onnxcam.errors import ImageError, OnnxcamError
from onnxcam.media.image import MAX_BYTES
from onnxcam.text import first_line, in_message

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["filesystem", "is_remote", "read", "storage"]

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")


def is_remote(address: str) -> bool:
    """Whether *address* names other storage: it begins with a protocol."""
    return _SCHEME.match(address) is not None


def filesystem(address: str) -> tuple[AbstractFileSystem, str]:
    """Return the storage of *address* and the path there.

    Raises OnnxcamError where its driver is not installed, or the protocol is not known.
    """
    import fsspec
    from fsspec.registry import known_implementations

    found = _SCHEME.match(address)
    protocol = found[1].lower() if found else "file"
    try:
        return fsspec.core.url_to_fs(address)
    except ImportError as error:
        module = known_implementations.get(protocol, {}).get("class", "").partition(".")[0]
        raise OnnxcamError(
            f"{in_message(address)}: addresses of {protocol}:// need {module}, which is not installed "
            f"({first_line(error)}); pip install {module}"
        ) from None
    except ValueError:
        known = ", ".join(f"{name}://" for name in ("s3", "gs", "az", "hf", "http"))
        raise OnnxcamError(
            f"{in_message(address)}: no storage is known for {protocol}://; fsspec knows {known} and others"
        ) from None
    except Exception as error:
        raise _failed(address, error) from None


@contextmanager
def storage(address: str, kind: type[OnnxcamError] = OnnxcamError) -> Iterator[None]:
    """Turn the errors of a storage into one line that names *address*; *kind* is the class of the error."""
    try:
        yield
    except OnnxcamError:
        raise
    except Exception as error:
        raise kind(str(_failed(address, error))) from None


def read(address: str, offset: int | None = None, size: int | None = None, what: str = "image") -> bytes:
    """Return the bytes of a file, or *size* bytes from *offset*; ImageError, which names *what*, if that fails."""
    if is_remote(address):
        system, path = filesystem(address)
        with storage(address, ImageError):
            end = None if offset is None or size is None else offset + size
            return bytes(system.cat_file(path, start=offset, end=end))
    if offset is None:
        return paths.read_bytes(address, ImageError, what, MAX_BYTES)
    with paths.opened(address, ImageError, what) as file:
        file.seek(offset)
        return file.read(size if size is not None else -1)


def _failed(address: str, error: Exception) -> OnnxcamError:
    if isinstance(error, FileNotFoundError):
        return OnnxcamError(f"{in_message(address)}: no such file or folder; check the address")
    if isinstance(error, PermissionError):
        return OnnxcamError(f"{in_message(address)}: no permission ({first_line(error)}); check the credentials")
    words: Any = f"{type(error).__name__}: {first_line(error)}"
    return OnnxcamError(f"{in_message(address)}: the storage fails ({words[:300]}); check address and credentials")
