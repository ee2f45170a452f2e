"""Explanations -> a folder: the files of each image as soon as it is explained, and manifest.json last."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, Unpack

from onnxcam import files, journal, paths
from onnxcam.errors import OnnxcamError
from onnxcam.explainer.concept_maps import ConceptMaps
from onnxcam.explainer.drawing import SMALL, Drawing
from onnxcam.explainer.explanation import Explanation
from onnxcam.metadata.reading import Part
from onnxcam.text import finite, to_json_rows

__all__ = ["MANIFEST", "Entry", "ExplainedImage", "ExplanationJournal", "Folder", "Named", "Origin"]

MANIFEST = "manifest.json"

Entry: TypeAlias = dict[str, Any]
"""An explanation, or an image that could not be explained, in the manifest."""


@dataclass(frozen=True)
class ExplainedImage:
    """An image whose explanations are written: its path, the hash of its file, and its entries in the manifest."""

    picture: str
    sha256: str
    entries: list[Entry]


class ExplanationJournal(journal.RunJournal[ExplainedImage]):
    """The images that an unfinished run has explained."""

    kind, schema = "explanation", 1

    def _written(self, result: ExplainedImage) -> dict[str, Any]:
        return vars(result)

    def _result(self, entry: Mapping[str, Any]) -> ExplainedImage:
        picture, sha256, entries = (entry.get(name) for name in ("picture", "sha256", "entries"))
        if not (isinstance(picture, str) and isinstance(sha256, str) and isinstance(entries, list)):
            raise ValueError("it is no explained image")
        if not all(isinstance(one, dict) and isinstance(one.get("raw"), str) for one in entries):
            raise ValueError("an entry is no explanation")
        return ExplainedImage(picture, sha256, entries)

    def _picture(self, result: ExplainedImage) -> str:
        return result.picture


@dataclass(frozen=True)
class Origin:
    """What made an explanation: the model in words, the settings, and a hash of all that the names of files omit."""

    model: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    run: str = ""


@dataclass(frozen=True)
class Named:
    """An explanation or the concepts of an image, the start of the names of its files, the reading, and its origin."""

    explanation: Explanation | ConceptMaps
    stem: str
    reading: Sequence[Part]
    origin: Origin = Origin()


class Folder(files.OutputFolder):
    """A folder of explanations. The files of an image appear together; the manifest appears when all are written.

    A run with an *identity* keeps a journal until its end. If it is interrupted, what is whole stays, and a run of the
    same identity resumes: `known` gives the entries of images that are done.

    Args:
        directory: The folder; created if missing.
        overwrite: Replace files of other origin, and begin an interrupted run anew.
        identity: What decides the explanations: model, options, preprocessing …. None: the run cannot resume.

    Raises:
        OutputError: the folder cannot be written, holds files of other origin with the same names, or the journal of
            another run.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(directory, MANIFEST, overwrite=overwrite)
        self._identity = identity
        self._journal: ExplanationJournal | None = None
        self._known: dict[str, ExplainedImage] = {}
        self._stems: dict[str, tuple[str, str]] = {}  # the image and the run that have the start of a file's name
        self._used: set[str] = set()
        self._rows: dict[int, list[Entry]] = {}
        self._before: list[Entry] = []  # of earlier runs, whose files are as they left them
        self._lock = threading.Lock()

    def _open(self) -> None:
        super()._open()
        log = self.path / journal.FILE
        self._ours = self._replaceable or files.is_ours(log)
        if not self._ours:
            self._require_free([MANIFEST])
        self._before = self._earlier()
        self._stems |= {_start(entry): _owner(entry) for entry in self._before}
        self._is_new = not os.path.lexists(log)
        if self._identity is not None:
            self._journal = ExplanationJournal(log, self._identity, overwrite=self.overwrite)
            self._known = {one.picture: one for one in self._journal}
        for one in self._known.values():
            self._stems |= {_start(entry): _owner(entry) for entry in one.entries}

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._drop([Path(entry["raw"]).name for entry in self.explained])
                files.write(self.path / MANIFEST, to_json_rows(self.manifest) + "\n", overwrite=True)
                self._end_journal()
        finally:
            self.clear()

    def clear(self) -> None:
        """Close the journal, remove it if nothing is done, and remove empty folders created here."""
        if self._journal is not None and self._is_new and not len(self._journal):
            self._end_journal()
        elif self._journal is not None:
            self._journal.close()
        super().clear()

    def _end_journal(self) -> None:
        if self._journal is not None:
            self._journal.close()
            (self.path / journal.FILE).unlink(missing_ok=True)
            self._journal = None

    @property
    def resumes(self) -> bool:
        """Whether the run keeps a journal."""
        return self._identity is not None

    def known(self, image: str, sha256: str) -> list[Entry] | None:
        """Return the entries of *image* if it is done, its file has the same hash, and its files are there."""
        one = self._known.get(image)
        if one is None or one.sha256 != sha256:
            return None
        paths = [entry[kind] for entry in one.entries for kind in ("raw", "map", "overlay")]
        return one.entries if all(path is None or os.path.isfile(path) for path in paths) else None

    def add(
        self,
        image: str | os.PathLike[str],
        explanation: Explanation | ConceptMaps,
        *,
        reading: Sequence[Part] = (),
        **drawing: Unpack[Drawing],
    ) -> Entry:
        """Write the files of *explanation* of the file *image*, as `Explanation.save` does.

        *reading* is the explainer's. Returns the manifest's entry.
        """
        (entry,) = self.put(len(self._rows), image, [self.named(image, explanation, reading)], **drawing)
        return entry

    def named(
        self,
        image: str | os.PathLike[str],
        explanation: Explanation | ConceptMaps,
        reading: Sequence[Part],
        origin: Origin | None = None,
    ) -> Named:
        """Choose the names of the files of *explanation*; images are named in their order."""
        origin = origin or Origin()
        return Named(explanation, self._stem(Path(image), explanation, origin.run), reading, origin)

    def put(
        self,
        number: int,
        image: str | os.PathLike[str],
        found: Sequence[Named | OnnxcamError],
        sha256: str = "",
        **drawing: Unpack[Drawing],
    ) -> list[Entry]:
        """Write what was *found* for each target of image *number*: explanations, or why there is none.

        Threads may call it at once. Returns the manifest's entries.
        """
        contents: dict[Path, bytes] = {}
        entries = [
            self._failure(image, one) if isinstance(one, OnnxcamError) else self._entry(image, one, contents, drawing)
            for one in found
        ]
        with self._lock:
            self._write(contents)
            self._rows[number] = entries
            if self._journal is not None and not any("error" in entry for entry in entries):
                self._journal.add(len(self._journal), ExplainedImage(str(image), sha256, entries))
        return entries

    def keep(self, number: int, entries: list[Entry]) -> None:
        """Take over the *entries* of image *number*, which a run before has written."""
        with self._lock:
            self._rows[number] = entries

    def _write(self, contents: Mapping[Path, bytes]) -> None:
        """Write the files of an image; entries of earlier runs whose files they replace leave the manifest first."""
        if not self._ours:
            self._require_free(path.name for path in contents)
        files.write_together(contents, first=lambda: self._supersede([path.name for path in contents]))

    def _earlier(self) -> list[Entry]:
        """Return the explanations in the manifest of earlier runs."""
        manifest = self.path / MANIFEST
        if not files.is_ours(manifest):
            return []
        found = json.loads(manifest.read_text("utf-8"))
        return [entry for entry in found if isinstance(entry.get("raw"), str)] if isinstance(found, list) else []

    def _supersede(self, names: Sequence[str]) -> None:
        """Write the manifest without the entries of earlier runs whose files have the *names*."""
        if self._drop(names):
            manifest = self.path / MANIFEST
            if self._before:
                files.write(manifest, to_json_rows(self._before) + "\n", overwrite=True)
            else:
                manifest.unlink(missing_ok=True)

    def _drop(self, names: Sequence[str]) -> bool:
        """Forget the entries of earlier runs whose files have the *names*; return whether there were any."""
        kept = [entry for entry in self._before if Path(entry["raw"]).name not in names]
        is_less, self._before = len(kept) < len(self._before), kept
        return is_less

    def _entry(self, image: str | os.PathLike[str], one: Named, contents: dict[Path, bytes], drawing: Drawing) -> Entry:
        """Return the manifest's entry of an explanation, and add its files to *contents*."""
        chosen: Drawing = {**SMALL, **drawing}
        explanation = one.explanation.explanation if isinstance(one.explanation, ConceptMaps) else one.explanation
        encoded = {
            kind: (self.path / name, data) for kind, (name, data) in one.explanation.encode(one.stem, **chosen).items()
        }
        contents |= dict(encoded.values())
        paths = {kind: str(path) for kind, (path, _) in encoded.items()}
        entry = {
            "image": str(image),
            "target": {"index": explanation.target, "label": explanation.label},
            "words": explanation.words,
            "score": explanation.score,
            "probability": explanation.probability,
            "method": explanation.method,
            "layer": explanation.layer,
            "model": one.origin.model,
            "settings": dict(one.origin.settings),
            "run": one.origin.run,
            "map": paths.get("map"),
            "raw": paths["raw"],
            "overlay": paths.get("overlay"),
            **_facts(one.explanation, is_drawn=chosen["maps"] != "raw"),
            "note": explanation.note,
            "warnings": list(explanation.warnings),
            "reading": {
                part.name: {"value": part.value, "source": part.source, "why": part.why} for part in one.reading
            },
        }
        return finite(entry)

    def add_failure(self, image: str | os.PathLike[str], error: OnnxcamError) -> Entry:
        """Add and return the manifest's entry of the file *image*, which could not be explained because of *error*."""
        (entry,) = self.put(len(self._rows), image, [error])
        return entry

    def _failure(self, image: str | os.PathLike[str], error: OnnxcamError) -> Entry:
        return {"image": str(image), "error": str(error)}

    @property
    def entries(self) -> list[Entry]:
        """The entries of this run, in the order of the images."""
        return [entry for _, entries in sorted(self._rows.items()) for entry in entries]

    @property
    def manifest(self) -> list[Entry]:
        """The entries of earlier runs into the folder, and those of this run."""
        return [*self._before, *self.entries]

    @property
    def done(self) -> int:
        """The number of images that are done, and kept if the run is interrupted."""
        return 0 if self._journal is None else len(self._journal)

    @property
    def explained(self) -> list[Entry]:
        """The entries of explanations."""
        return [entry for entry in self.entries if "error" not in entry]

    @property
    def failed(self) -> list[Entry]:
        """The entries of images that could not be explained."""
        return [entry for entry in self.entries if "error" in entry]

    def _stem(self, image: Path, explanation: Explanation | ConceptMaps, run: str) -> str:
        """Return the image's stem, with a number if another image of that name, or another *run*, has the same target.

        Another run is one of another model, preprocessing or input.
        """
        first = stem = paths.stem(image)
        count = 1
        while self._is_taken(explanation.start(stem), (str(image), run)):
            count += 1
            stem = f"{first}-{count}"
        return stem

    def _is_taken(self, start: str, owner: tuple[str, str]) -> bool:
        """Return whether a file's name begins with *start* in this run; otherwise *owner*, image and run, takes it."""
        if self._stems.get(start) not in (None, owner):
            return True
        used = start in self._used
        self._used.add(start)
        self._stems[start] = owner
        return used


def _facts(found: Explanation | ConceptMaps, *, is_drawn: bool) -> Entry:
    """Return what an entry says of the map of one target, or of the concepts."""
    if isinstance(found, ConceptMaps):
        none = "probability_against", "detection", "box", "box_is_all_seen", "boxes", "parts"
        return dict.fromkeys(none) | {"concepts": found.rows}
    boxes = found.boxes() if is_drawn else []
    box = boxes[0] if boxes else found.box() if is_drawn else None
    return {
        "probability_against": found.probability_against,
        "detection": found.detection,
        "box": box,
        "box_is_all_seen": None if box is None else found.is_all_seen(box),
        "boxes": boxes if is_drawn else None,
        "parts": found.weights,
    }


def _start(entry: Entry) -> str:
    """Return the start of the names of the files of *entry*."""
    return Path(entry["raw"]).name.removesuffix("-raw.npy")


def _owner(entry: Entry) -> tuple[str, str]:
    """Return the image and the run of *entry*."""
    return str(entry.get("image")), str(entry.get("run", ""))
