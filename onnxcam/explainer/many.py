"""Explain many images: they are decoded, explained, drawn and written side by side, and an interrupted run resumes."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, Unpack

import onnxcam
from onnxcam import paths, pipeline
from onnxcam.errors import ImageError, MethodError, MissingRuleError, OnnxcamError, OutputError, ProviderError
from onnxcam.explainer.drawing import Drawing
from onnxcam.explainer.explainer import Explainer
from onnxcam.explainer.manifest import Entry, Folder, Named, Origin
from onnxcam.explainer.named_files import hashes, named_by
from onnxcam.explainer.request import PreprocessedImage
from onnxcam.graph.io import load
from onnxcam.graph.model_files import fingerprint, model_hash
from onnxcam.hub import name_of
from onnxcam.media import image as images
from onnxcam.media.video import is_video
from onnxcam.metadata.reading import Part
from onnxcam.methods.base import NONE
from onnxcam.progress import Progress, quiet

__all__ = ["FINISHERS", "explain_images", "identity", "origin"]

FINISHERS = 2
"""Threads that draw and write."""

_OF_EVERY_IMAGE = (OutputError, ProviderError, MethodError, MissingRuleError)
"""Errors that every image has: they end the run."""


_Results: TypeAlias = list[Named | OnnxcamError]
"""What was found of one image, or why not."""


@dataclass(frozen=True)
class _RunImage:
    """An image of the run: its number, its hash, and what was loaded or found; errors in place of what is missing."""

    number: int
    name: str
    sha256: str
    content: PreprocessedImage | OnnxcamError | None = None
    known: list[Entry] | None = None
    found: Sequence[Named | OnnxcamError] = ()


def explain_images(
    explainer: Explainer,
    names: Sequence[str],
    targets: Sequence[str | None],
    folder: Folder,
    *,
    others: Sequence[Explainer] = (),
    strict: bool = False,
    jobs: int | None = None,
    progress: Progress = quiet,
    **drawing: Unpack[Drawing],
) -> None:
    """Explain each image for each target, and put the results into *folder*, which is open.

    An explainer that finds concepts finds those of each image in place of maps of targets; with the setting *together*
    of all images that can be read.

    Images that a run before has done are not explained again. An image that cannot be explained is put there with its
    error; if it is the only one, or with *strict*, the error is raised.

    Args:
        explainer: The model and the method.
        names: Image files.
        targets: Targets of each image; None is the explainer's.
        folder: Where the results are written.
        others: Explainers of the same model by other methods, which explain each image too.
        strict: Raise the first error of an image.
        jobs: Threads that read images; None: one per core, at most 4.
        progress: Wraps the numbers of the images.
        drawing: What is written, as for `Explanation.save`.

    Raises:
        OnnxcamError: every image has this error, or all have one.
    """
    for each in (explainer, *others):
        each.network.guess_by(names)
    numbers = range(len(names))
    ticks = iter(progress(numbers, len(names)))
    run = _ImageRun(explainer, names, targets, folder, strict or len(names) == 1, drawing, ticks, [explainer, *others])
    together = any(one.finds_concepts and one.shares_concepts for one in run.explainers)
    jobs = jobs or pipeline.default_jobs()
    try:
        pipeline.run(
            [numbers] if together else [[number] for number in numbers],
            run.load,
            run.explain,
            run.write,
            jobs=jobs if all(map(explainer.network.modality.decodes, names)) else 1,  # volumes are large: one at a time
            finishers=FINISHERS,
        )
        next(ticks, None)
        if not folder.explained:
            first = folder.failed[0]
            why = paths.naming(first["image"], first["error"])
            raise OnnxcamError(f"no image of {len(names)} was explained; the first: {why}")
    except OnnxcamError as error:
        if not folder.done:
            raise
        kept = f"{folder.done} of {len(names)} images are done and kept in '{folder.path}'"
        raise type(error)(f"{error}; {kept}: repeat the command to resume") from error


@dataclass(frozen=True)
class _ImageRun:
    """One run over images: what is done with each, in which thread."""

    explainer: Explainer
    names: Sequence[str]
    targets: Sequence[str | None]
    folder: Folder
    strict: bool
    drawing: Drawing
    ticks: Iterator[int]
    explainers: Sequence[Explainer]
    readings: dict[tuple[int, int], Sequence[Part]] = field(default_factory=dict)
    origins: dict[int, Origin] = field(default_factory=dict)

    def load(self, number: int) -> _RunImage:
        """Read and preprocess an image, unless it is done; called by threads."""
        name, network = self.names[number], self.explainer.network
        is_image = network.modality.decodes(name)
        try:
            is_image = is_image and not is_video(name)
            data = images.load(name) if is_image else _content(name) if self.folder.resumes else b""
            sha256 = hashlib.sha256(data).hexdigest() if self.folder.resumes else ""
            known = self.folder.known(name, sha256)
            if known is not None:
                return _RunImage(number, name, sha256, known=known)
            if network.modality.decodes(name) and is_video(name):
                return _RunImage(number, name, sha256)  # its frames are read while they are explained
            content = images.decode(data, name, network.warn) if is_image else name
            return _RunImage(number, name, sha256, self.explainer.prepare(content))
        except OnnxcamError as error:
            return _RunImage(number, name, "", error)

    def explain(self, loaded: Sequence[tuple[int, _RunImage]]) -> list[_RunImage]:
        """Explain the images of a batch by each method, each for each target; without those that are done."""
        new = []
        for _, image in pipeline.ticked(self.ticks, (), loaded):
            if image.known is None:
                new.append(image)
            else:
                self.folder.keep(image.number, image.known)
        each = [self._concepts(one, new) if one.finds_concepts else self._maps(one, new) for one in self.explainers]
        return [self._finished(image, by_method) for image, *by_method in zip(new, *each, strict=True)]

    @staticmethod
    def _finished(image: _RunImage, by_method: Sequence[_Results]) -> _RunImage:
        """Return *image* with the results of all methods; an image that cannot be read has one error."""
        found = [one for results in by_method for one in results]
        return replace(image, content=None, found=found[:1] if isinstance(image.content, OnnxcamError) else found)

    def _maps(self, explainer: Explainer, images: Sequence[_RunImage]) -> list[_Results]:
        """Return the explanations of each image, or the errors."""
        return [
            self._explained(explainer, one, self.targets[:1] if isinstance(one.content, OnnxcamError) else self.targets)
            for one in images
        ]

    def _concepts(self, explainer: Explainer, images: Sequence[_RunImage]) -> list[_Results]:
        """Return the concepts of *images*, which share them if they are several, or the errors."""
        found: dict[int, Named | OnnxcamError] = {}
        contents: dict[int, Any] = {}
        for image in images:
            if isinstance(image.content, OnnxcamError):
                if self.strict:
                    raise self._stated(image, image.content) from image.content
                found[image.number] = image.content
            else:
                contents[image.number] = image.name if image.content is None else image.content
        try:
            each = explainer.concepts(list(contents.values()), target=self.targets[0]) if contents else []
        except OnnxcamError as error:
            if self.strict or len(contents) > 1 or isinstance(error, _OF_EVERY_IMAGE):
                raise
            return [[error]]
        names, reading = {image.number: image.name for image in images}, self._reading(explainer)
        for number, one in zip(contents, each, strict=True):
            found[number] = self.folder.named(names[number], one, reading, self._origin(explainer))
        return [[found[image.number]] for image in images]

    def _explained(self, explainer: Explainer, image: _RunImage, targets: Sequence[str | None]) -> _Results:
        """Return the explanations of *image* for *targets*, or the errors."""
        try:
            if isinstance(image.content, OnnxcamError):
                raise image.content
            is_clip = image.content is None
            explanations = explainer.each(image.name if is_clip else image.content, targets)  # type: ignore[arg-type]
        except _OF_EVERY_IMAGE:
            raise
        except OnnxcamError as error:
            if len(targets) > 1:  # one of them has it
                return [one for target in targets for one in self._explained(explainer, image, [target])]
            if self.strict:
                raise self._stated(image, error) from error
            return [error]
        reading, origin = self._reading(explainer), self._origin(explainer)
        return [self.folder.named(image.name, one, reading, origin) for one in explanations]

    def _origin(self, explainer: Explainer) -> Origin:
        """Return the origin of what *explainer* explains."""
        if id(explainer) not in self.origins:
            self.origins[id(explainer)] = origin(explainer)
        return self.origins[id(explainer)]

    def _reading(self, explainer: Explainer) -> Sequence[Part]:
        """Return what was read of the model; of the layers, the one chosen last."""
        key = id(explainer), id(explainer.choice)
        if key not in self.readings:
            self.readings[key] = explainer.reading
        return self.readings[key]

    def _stated(self, image: _RunImage, error: OnnxcamError) -> OnnxcamError:
        """Return *error* with the name of its image, if there are several."""
        alone = len(self.names) == 1
        return error if alone else type(error)(paths.naming(image.name, str(error)))

    def write(self, images: Sequence[_RunImage]) -> None:
        """Draw and write the explanations of the images of a batch; called by threads."""
        for image in images:
            self.folder.put(image.number, image.name, image.found, image.sha256, **self.drawing)


def identity(explainer: Explainer, targets: Sequence[str | None], **drawing: Unpack[Drawing]) -> dict[str, Any]:
    """Return what decides the explanations of an image: a run resumes only if it is the same."""
    arguments = {name: _plain(value) for name, value in explainer.arguments().items() if name not in _NOT_DECIDING}
    labels = "\n".join(explainer.class_names or ())
    return {
        "onnxcam": onnxcam.__version__,
        "model": model_hash(explainer.model, load(explainer.model)),
        **{name: value for name, value in arguments.items() if value not in _UNSAID},
        "targets": list(targets),
        **{part.name: part.value for part in explainer.network.reading},
        "names": hashlib.sha256(labels.encode("utf-8", "surrogateescape")).hexdigest()[:12],
        "files": hashes([*_texts(explainer.arguments()), *_of_targets(explainer, targets)]),
        **({} if explainer.network.text_tower is None else {"text tower": explainer.network.text_tower.digest}),
        **drawing,
    }


def origin(explainer: Explainer) -> Origin:
    """Return what makes the maps of *explainer*; its hash covers what the names of files omit."""
    given = {name: _plain(value) for name, value in explainer.arguments().items() if name not in _NOT_DECIDING}
    omitted = {name: value for name, value in given.items() if name not in _IN_NAMES and value not in _UNSAID}
    model = explainer.model
    decides = [fingerprint(model), *map(str, sorted(omitted.items())), *hashes(_texts(explainer.arguments())).values()]
    named = name_of(model) if isinstance(model, str | os.PathLike) else ""
    smooth = {"smooth": explainer.smooth} if explainer.smooth != NONE else {}
    signed = {"signed": "yes"} if explainer.signed else {}
    settings = {name: str(value) for name, value in {**explainer.settings, **smooth, **signed}.items()}
    return Origin(
        named, settings, hashlib.sha256("\n".join(decides).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    )


_IN_NAMES = ("method", "target", "layer", "settings", "smooth", "signed", "provider")
"""Arguments that names of files hold, and one that changes no map."""
_UNSAID = ("None", "{}", "", "auto")
"""Values of arguments that leave the choice to the explainer; `None` and ``"auto"`` are the same."""
_NOT_DECIDING = ("model", "progress", "features", "spin", "labels", "cache")


def _plain(value: Any) -> str:
    """Return *value* as text that is the same in every process; a function is its name."""
    if inspect.isroutine(value):
        return f"{value.__module__}.{value.__qualname__}"
    return str(dict(value) if isinstance(value, Mapping) else value)


def _texts(arguments: Mapping[str, Any]) -> list[str]:
    """Return the values of *arguments* that may name a file."""
    values = [one for name, value in arguments.items() if name not in ("model", "text_model") for one in _values(value)]
    return [os.fspath(one) for one in values if isinstance(one, str | os.PathLike)]


def _of_targets(explainer: Explainer, targets: Sequence[str | None]) -> list[str]:
    """Return what *targets* and the explainer's own name, which may be files."""
    return [name for one in (explainer.target, *targets) for name in named_by(one, explainer.class_names)]


def _values(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, Mapping) else [value]


def _content(path: str) -> bytes:
    """Return the bytes of a file that is no image; of a folder, which is a series, the hashes of its files."""
    if paths.kind(path) == "folder":
        return b"".join(hashlib.sha256(_content(one)).digest() for one in sorted(paths.below(path)))
    return paths.read_bytes(path, ImageError, "volume", images.MAX_BYTES)
