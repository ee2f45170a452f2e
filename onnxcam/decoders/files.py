"""Find the parts of a decoder in a folder, as exporters name them, and the files of its tokenizer and settings."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from onnxcam import paths
from onnxcam.errors import ModelError, nearest
from onnxcam.hub import HubAddress, folder_of, local, models_of
from onnxcam.metadata import sidecar
from onnxcam.text import in_message

__all__ = ["PARTS", "DecoderFiles", "PartsLike", "find_files", "has_parts"]

PartsLike: TypeAlias = "str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]]"
"""The folder of an export, or its files by part; beside ``"folder"`` files that take the place of those in it."""

PARTS = {
    "vision": re.compile(r"(vision|image)_(encoder|model)|vision"),
    "embed": re.compile(r"embed_tokens|embeddings?|text_embeddings"),
    "encoder": re.compile(r"encoder_model|encoder"),
    "decoder": re.compile(r"decoder_model_merged|decoder_model|decoder|text_model|text_decoder"),
}
"""The parts, and the names of their files without ``.onnx``; a variant adds a suffix, such as ``_q4`` or ``_fp16``.

``encoder`` reads image and prompt before the decoder (Florence-2); where it is the only encoder, it is that of images
(TrOCR, Donut, VisionEncoderDecoder).
"""


_KINDS = ({"vision", "embed", "decoder"}, {"encoder", "decoder"})
"""The parts that make a decoder: of a vision-language model, and of an encoder-decoder."""


@dataclass(frozen=True)
class DecoderFiles:
    """The files of a decoder: its `PARTS`, and the tokenizer."""

    parts: Mapping[str, Path]
    tokenizer: Path

    def beside(self, name: str) -> dict[str, Any]:
        """Return the object in the JSON file *name* beside a part, or one folder above; else empty."""
        return next((found for path in self.parts.values() if (found := sidecar.beside(path, name))), {})

    def text_beside(self, name: str) -> str:
        """Return the text of the file *name* beside a part, or one folder above; else nothing."""
        path = _beside(self.parts.values(), name)
        return "" if path is None else paths.read_text(path, ModelError, name)


def has_parts(folder: str | os.PathLike[str]) -> bool:
    """Return whether *folder*, or its folder ``onnx``, holds a file with the name of a part.

    A repository of the hub has all parts of one kind of decoder, or none.
    """
    address = HubAddress.of(folder)
    if address is not None:
        stems = [PurePosixPath(path).stem for path in models_of(address)]
        found = {part for part, name in PARTS.items() if any(map(name.fullmatch, stems))}
        return address.file is None and any(kind <= found for kind in _KINDS)
    if paths.kind(folder) != "folder":
        return False
    there = [Path(path) for home in (Path(folder), Path(folder) / "onnx") for path in paths.entries(home)]
    return any(path.suffix == ".onnx" and name.match(path.stem) for path in there for name in PARTS.values())


def find_files(given: PartsLike, tokenizer: str | os.PathLike[str] | None = None) -> DecoderFiles:
    """Return the files of the decoder *given*; ModelError where one is missing, or several could be a part."""
    folder, named = _read(given)
    for name in named:
        if name not in PARTS:
            raise ModelError(
                f"there is no part {name!r}; the parts are {', '.join(PARTS)}.{nearest(name, list(PARTS))}"
            )
    parts = {name: local(named[name]) if name in named else _part(at, folder) for name, at in _wanted(named, folder)}
    for path in parts.values():
        paths.check_file(path, ModelError, "model")
    found = Path(tokenizer) if tokenizer is not None else _beside(parts.values(), "tokenizer.json")
    if found is None:
        raise ModelError(
            "there is no tokenizer.json beside the parts, nor one folder above; give it with --tokenizer (tokenizer=)"
        )
    paths.check_file(found, ModelError, "tokenizer")
    return DecoderFiles(parts, found)


def _read(given: PartsLike) -> tuple[Path | None, dict[str, str | os.PathLike[str]]]:
    if not isinstance(given, Mapping):
        return folder_of(given, _is_part), {}
    named = dict(given)
    folder = named.pop("folder", None)
    return None if folder is None else folder_of(folder, _is_part), named


def _is_part(path: str) -> bool:
    """Whether the model at *path* is a part in its first variant."""
    return any(name.fullmatch(PurePosixPath(path).stem) for name in PARTS.values())


def _part(name: str, folder: Path | None) -> Path:
    """Return the file of the part *name* in *folder*, or in its folder ``onnx``."""
    if folder is None:
        raise ModelError(f"the part {name!r} is missing; give --part {name}=FILE, or the folder that holds all parts")
    if paths.kind(folder) != "folder":
        raise ModelError(f"{in_message(folder)}: there is no such folder of parts; check the name")
    files = _models(folder)
    fitting = [path for path in files if PARTS[name].match(path.stem) and "with_past" not in path.stem]
    exact = [path for path in fitting if PARTS[name].fullmatch(path.stem)]
    exact.sort(key=lambda path: "merged" not in path.stem)
    found = exact[:1] or fitting
    if len(found) == 1:
        return found[0]
    listed = ", ".join(path.name for path in found or files) or "no .onnx file"
    why = "has no file of" if not found else "has several files of"
    raise ModelError(f"{in_message(folder)} {why} the part {name!r}: there is {listed}; give --part {name}=FILE")


def _wanted(named: Mapping[str, Any], folder: Path | None) -> list[tuple[str, str]]:
    """Return the parts of this decoder, each with the name of the part under which its file is searched."""
    there = [] if folder is None or paths.kind(folder) != "folder" else [path.stem for path in _models(folder)]
    found = {name: name in named or any(PARTS[name].match(stem) for stem in there) for name in PARTS}
    if found["encoder"] and not found["vision"]:
        return [("vision", "encoder"), ("decoder", "decoder")]
    if {"vision", "decoder"} <= named.keys() and not found["embed"] and not found["encoder"]:
        return [("vision", "vision"), ("decoder", "decoder")]
    return [(name, name) for name in PARTS if name != "encoder" or found["encoder"]]


def _models(folder: Path) -> list[Path]:
    """Return the models in *folder*, and in its folder ``onnx``."""
    there = [Path(path) for home in (folder, folder / "onnx") for path in sorted(paths.entries(home))]
    return [path for path in there if path.suffix == ".onnx"]


def _beside(files: Sequence[Path] | Any, name: str) -> Path | None:
    folders = dict.fromkeys(folder for path in files for folder in path.absolute().parents[:2])
    return next((folder / name for folder in folders if paths.kind(folder / name) == "file"), None)
