"""From an address to files on this machine: which model is meant, and what belongs to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from onnxcam import wire
from onnxcam.errors import ModelError, nearest
from onnxcam.hub.address import HubAddress
from onnxcam.hub.catalogue import public_model
from onnxcam.hub.repository import HubFile, HubRepository
from onnxcam.paths import PathLike

__all__ = ["folder_of", "forget", "local", "models_of", "name_of", "notes_of"]

_FIRST = ("model.onnx", "vision_model.onnx")
"""Names of the model that is meant where a repository has several, the first before the others."""
_SMALL = 1 << 25  # bytes
_BESIDE = (".json", ".yaml", ".yml", ".txt", ".names")
"""Kinds of small files that belong to a model: configuration, labels, tokenizers."""
_SHOWN = 8


@dataclass(frozen=True)
class _Download:
    """A model in the cache.

    Attributes:
        path: Its file.
        address: Where it is from: with the file, and the commit where the hub was asked.
        notes: What the user should know: which file was taken, and that only the cache was asked.
    """

    path: Path
    address: HubAddress
    notes: tuple[str, ...]


def local(source: PathLike) -> Path:
    """Return the path of *source*; of an address ``hf://…`` the file in the hub's cache, downloaded if needed.

    Files of weights, configuration, labels and tokenizers come along, at their places beside the model.

    Raises:
        ModelError: the address is wrong, the model is not there, or it cannot be downloaded; see `HubRepository`.

    Example:
        >>> local("hf://org/name:onnx/model.onnx@main")
    """
    address = HubAddress.of(source)
    return Path(source) if address is None else _fetched(address).path


def name_of(source: PathLike) -> str:
    """Return *source* in words, for reports; an address with the file that was taken, and its commit."""
    address = HubAddress.of(source)
    return os.fspath(source) if address is None else str(_fetched(address).address)


def notes_of(source: object) -> list[str]:
    """Return what the user should know of the download of *source*; nothing where it is no address."""
    address = HubAddress.of(source) if isinstance(source, str | os.PathLike) else None
    return [] if address is None else list(_fetched(address).notes)


def models_of(address: HubAddress) -> list[str]:
    """Return the paths of the models in the repository of *address*, the one that is meant first."""
    return sorted((path for path in _repository(address).files if path.endswith(".onnx")), key=_order)


def folder_of(source: PathLike, wanted: Callable[[str], bool]) -> Path:
    """Return *source*, a folder; of an address the folder in the cache, with its models whose paths are *wanted*.

    What belongs to each model comes along. ModelError as `local`.
    """
    address = HubAddress.of(source)
    if address is None:
        return Path(source)
    repository, names = _repository(address), list(filter(wanted, models_of(address)))
    paths = [_with_its_files(repository, name) for name in names]
    return paths[0].parents[names[0].count("/")]


@lru_cache(maxsize=32)
def _repository(address: HubAddress) -> HubRepository:
    """Return the repository of *address*, asked once in a process, so that a run sees one revision."""
    return HubRepository(address)


def _with_its_files(repository: HubRepository, name: str) -> Path:
    """Return the model *name* in the cache, and have what belongs to it beside it."""
    path = repository.download(name)
    for place in _weights(path):
        repository.download(str(PurePosixPath(name).parent / place))
    for one in _companions(name, repository.files.values()):
        repository.download(one)
    return path


@lru_cache(maxsize=32)
def _fetched(address: HubAddress) -> _Download:
    """Return the model in the cache; it is looked for once in a process."""
    repository = _repository(address)
    name, notes = _chosen(repository)
    path = _with_its_files(repository, name)
    if repository.offline:
        notes.append(f"{address} is the copy in the cache: there is no connection to the hub")
    taken = HubAddress(address.repository, name, repository.commit)
    known, said = public_model(taken), repository.files[name].sha256
    if known is not None and known.sha256 is not None and said is not None and said != known.sha256:
        notes.append(f"{address} is not the file of {known.source}: the SHA-256 differs (`onnxcam models --json`)")
    return _Download(path, taken, tuple(notes))


def forget() -> None:
    """Ask the hub again, at the next use of an address."""
    _repository.cache_clear()
    _fetched.cache_clear()


def _chosen(repository: HubRepository) -> tuple[str, list[str]]:
    """Return the path of the model in *repository*, and a note where it was chosen; ModelError where none is meant."""
    address = repository.address
    models = models_of(address)
    if address.file is not None:
        if address.file in repository.files:
            return address.file, []
        same = [path for path in models if path.rpartition("/")[2] == address.file]
        if len(same) == 1:
            return same[0], []
        there = (
            f"its models are {_listed(models)}.{nearest(address.file, models)}" if models else "it has no .onnx file"
        )
        raise ModelError(f"hf://{address.repository} has no file '{address.file}'; {there}")
    if not models:
        raise ModelError(
            f"{address}: has no .onnx file; choose a repository with one, or export it (`optimum-cli export onnx`)"
        )
    if len(models) == 1:
        return models[0], []
    note = f"{address} has {len(models)} models, {_listed(models)}; the first is taken, another is {address}:FILE"
    return models[0], [note]


def _order(path: str) -> tuple[int, int, str]:
    """Return the rank of a model among those of its repository."""
    name = path.rpartition("/")[2]
    return _FIRST.index(name) if name in _FIRST else len(_FIRST), path.count("/"), path


def _listed(models: list[str]) -> str:
    return ", ".join(models[:_SHOWN]) + (" …" if len(models) > _SHOWN else "")


def _weights(path: Path) -> list[str]:
    """Return the files of weights that the model at *path* names; none where they cannot be downloaded beside it."""
    places = [PurePosixPath(place) for place in wire.external_files(path)]
    return [str(place) for place in places if not place.is_absolute() and ".." not in place.parts]


def _companions(model: str, files: Iterable[HubFile]) -> list[str]:
    """Return the small files in the folder of *model* and one above, which are read beside a model."""
    folders = [str(PurePosixPath(model).parent), str(PurePosixPath(model).parent.parent)]
    return [
        one.path
        for one in files
        if str(PurePosixPath(one.path).parent) in folders
        and one.path.lower().endswith(_BESIDE)
        and (one.size is None or one.size <= _SMALL)
    ]
