"""A repository of the hub, through huggingface_hub: its files, and their download into the cache.

The exceptions of huggingface_hub end here. They hold addresses and request ids, and messages of onnxcam none of these:
a token is never printed.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxcam.errors import ModelError, OnnxcamError
from onnxcam.hub.address import HubAddress
from onnxcam.text import first_line

__all__ = ["HubFile", "HubRepository"]

_PIECE = 1 << 20
_PATIENCE = 10.0  # seconds for the description of a repository


@dataclass(frozen=True)
class HubFile:
    """A file of a repository: its path, its size in bytes and its SHA-256; None where they are not said."""

    path: str
    size: int | None = None
    sha256: str | None = None


class HubRepository:
    """The repository of *address*, at its revision.

    Attributes:
        files: Its files by path; without a connection those that the cache holds.
        offline: Whether the cache alone is used.
        commit: The commit; without a connection the revision of *address*.

    Raises:
        ModelError: huggingface_hub is not installed, there is no such repository or revision, the hub gives no access
            or cannot be reached and the cache has no copy.
    """

    def __init__(self, address: HubAddress) -> None:
        self.address = address
        self._hub = _library()
        self._errors = importlib.import_module("huggingface_hub.errors")
        self.offline, self.commit = False, address.revision
        try:
            with self._translated():
                info = self._hub.HfApi().model_info(
                    address.repository, revision=address.revision, timeout=_PATIENCE, files_metadata=True
                )
            self.commit = info.sha
            self.files = {one.path: one for one in map(_file, info.siblings) if ".." not in one.path.split("/")}
        except _UnreachableError as error:
            self.offline = True
            self.files = self._kept(error)

    def download(self, path: str) -> Path:
        """Return the file *path* in the cache, downloaded and checked if it is not there. ModelError if that fails."""
        with self._translated(path):
            kept = self._hub.try_to_load_from_cache(self.address.repository, path, revision=self.commit)
            if isinstance(kept, str):  # a commit never changes
                return Path(kept)
            found = Path(
                self._hub.hf_hub_download(
                    self.address.repository, path, revision=self.address.revision, local_files_only=self.offline
                )
            )
        self._check(found, self.files.get(path))
        return found

    def _check(self, found: Path, said: HubFile | None) -> None:
        """Delete a file just downloaded whose hash is not what the hub says, and raise ModelError."""
        if said is None or said.sha256 is None or _digest(found) == said.sha256:
            return
        Path(os.path.realpath(found)).unlink(missing_ok=True)
        found.unlink(missing_ok=True)
        raise ModelError(
            f"'{said.path}' of {self.address} arrived damaged: its SHA-256 is not the hub's; it was deleted, "
            "run the command again"
        )

    def _kept(self, error: _UnreachableError) -> dict[str, HubFile]:
        """Return the files of the copy in the cache; the *error* where there is none."""
        try:
            folder = Path(
                self._hub.snapshot_download(
                    self.address.repository, revision=self.address.revision, local_files_only=True
                )
            )
        except (OSError, ValueError):
            raise ModelError(
                f"{self.address}: {error}, and the cache has no copy; connect once, or give a file"
            ) from None
        names = [one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()]
        return {name: HubFile(name) for name in sorted(names)}

    @contextmanager
    def _translated(self, path: str | None = None) -> Iterator[None]:
        """Turn the exceptions of huggingface_hub into ModelError, and `_UnreachableError` without a connection."""
        known, where = self._errors, self.address
        try:
            yield
        except known.GatedRepoError:
            raise ModelError(
                f"{where}: the hub gives no access to this repository; accept its terms on its page, and log in with "
                "`hf auth login` or HF_TOKEN"
            ) from None
        except known.RevisionNotFoundError:
            raise ModelError(f"{where}: has no revision {where.revision!r}; check the name, or leave it out") from None
        except known.RepositoryNotFoundError:
            raise ModelError(
                f"{where}: no such repository, or a private one; check the name, and for a private one log in with "
                "`hf auth login` or HF_TOKEN"
            ) from None
        except known.OfflineModeIsEnabled:
            raise _UnreachableError("HF_HUB_OFFLINE is set") from None
        except known.LocalEntryNotFoundError:
            why = "and the hub cannot be reached" if not self.offline else "and there is no connection"
            raise ModelError(f"{where}: the cache has no '{path}', {why}; connect, and run the command again") from None
        except known.EntryNotFoundError:
            raise ModelError(f"{where}: there is no '{path}' in the repository any more; check the name") from None
        except known.HFValidationError as error:
            raise ModelError(f"{where}: is no name of a repository ({first_line(error)})") from None
        except known.HfHubHTTPError as error:
            raise ModelError(f"{where}: {_refusal(error)}") from None
        except Exception as error:  # of the operating system, or of the library for HTTP, which versions differ in
            why = getattr(error, "strerror", None) or type(error).__name__  # a text could hold an address
            if path is None:
                raise _UnreachableError(f"the hub cannot be reached ({why})") from None
            if getattr(error, "filename", None):
                raise ModelError(
                    f"{where}: '{path}' cannot be kept in the cache ({why}); set HF_HUB_CACHE to another folder"
                ) from None
            raise ModelError(f"{where}: the download of '{path}' broke off ({why}); run the command again") from None


class _UnreachableError(OnnxcamError):
    """The hub cannot be asked, so that the cache is; never leaves this module."""


def _refusal(error: Any) -> str:
    """Return what to do about a status of HTTP."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return "the hub refuses the token; log in again with `hf auth login`, or set HF_TOKEN anew"
    return f"the hub answers with status {status}; try again later"


def _file(sibling: Any) -> HubFile:
    lfs = sibling.lfs or {}
    digest = lfs.get("sha256") if isinstance(lfs, dict) else getattr(lfs, "sha256", None)
    return HubFile(sibling.rfilename, sibling.size, digest)


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(_PIECE), b""):
            found.update(piece)
    return found.hexdigest()


def _library() -> Any:
    """Return huggingface_hub; ModelError where it is not installed."""
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError:
        raise ModelError(
            "models of the hub (hf://) need huggingface_hub, which is not installed; pip install 'onnxcam[hub]'"
        ) from None
