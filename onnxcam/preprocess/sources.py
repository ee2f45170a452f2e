"""Find the preprocessing of a model: from the user, its metadata, files beside it, or a guess."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.errors import PreprocessError
from onnxcam.media.image import RgbImage
from onnxcam.metadata import sidecar
from onnxcam.metadata.card import Card
from onnxcam.metadata.reserved import BAKED, stamp_of
from onnxcam.preprocess.baked import baked, guess_in
from onnxcam.preprocess.guess import guess
from onnxcam.preprocess.hugging_face import hugging_face
from onnxcam.preprocess.image_metadata import image_metadata, is_image_metadata, linear_light
from onnxcam.preprocess.paddle import has_operators, paddle
from onnxcam.preprocess.parser import OWN_SIZE, PRESETS, build, check, fields_of, parse
from onnxcam.preprocess.stated import Fields
from onnxcam.preprocess.tensor_spec import TensorSpec
from onnxcam.preprocess.third_party import timm, ultralytics
from onnxcam.preprocess.transform import CallablePreprocess, Preprocess

__all__ = ["ResolvedPreprocess", "Spec", "resolve"]

Spec = str | Preprocess | Callable[[RgbImage], NDArray[Any]]

_MALFORMED = (
    TypeError,
    ValueError,
    SyntaxError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)


@dataclass(frozen=True)
class ResolvedPreprocess:
    """A preprocessing, and how it is known.

    Attributes:
        preprocess: The preprocessing.
        source: Where it comes from, a key of `onnxcam.metadata.reading.SOURCES`.
        why: The evidence in a few words.
        warnings: What the user should know: sources that do not fit, a guess.
    """

    preprocess: Preprocess
    source: str
    why: str
    warnings: tuple[str, ...] = ()

    @property
    def guessed(self) -> bool:
        """Whether no source states it."""
        return self.source == "guess"


@dataclass(frozen=True)
class _PreprocessSource:
    """A place that states a preprocessing.

    Attributes:
        kind: A key of `SOURCES`.
        name: The place, for messages.
        read: Reads it for an input.
        guess: Why it was guessed when it was written there; empty where it was not.
        caution: A warning about what no preprocessing can express; empty for none.
    """

    kind: str
    name: str
    read: Callable[[TensorSpec], Fields]
    guess: str = ""
    caution: str = ""


def resolve(
    spec: Spec | None,
    input: TensorSpec,
    *,
    path: Path | None = None,
    metadata: Mapping[str, str] | None = None,
    graph_hint: ir.Value | None = None,
    whole: bool = False,
) -> ResolvedPreprocess:
    """Return the preprocessing for the model's *input*, its source, and warnings.

    Sources, in order: *spec*; the metadata of `bake` and the card in *metadata*; ONNX's metadata of images; files of
    other tools beside the model at *path*, and Ultralytics' metadata; the names of inputs and outputs; a guess from the
    graph after *graph_hint*, the input's value, with a warning. A source that does not fit the input is skipped with a
    warning. A guess does not crop if the model sees the *whole* image, as detectors do.

    Raises:
        PreprocessError: *spec* does not fit the input, or the input does not take an image.
    """
    if spec is not None:
        return ResolvedPreprocess(_explicit(spec, input), "user", "")
    warnings: list[str] = []
    for source in _sources(path, metadata or {}):
        try:
            found = build(_without_values(source.read(input), input), input)
        except PreprocessError as error:
            warnings.append(f"the preprocessing in {source.name} is passed over: {error}")
        except _MALFORMED:
            warnings.append(f"the preprocessing in {source.name} is passed over: it has another form than expected")
        else:
            warnings += [source.caution] if source.caution else []
            if not source.guess:
                return ResolvedPreprocess(found, source.kind, source.name, tuple(warnings))
            warnings.append(_announce(f"{found}", f"{source.name} says that it was guessed: {source.guess}"))
            return ResolvedPreprocess(found, "guess", source.guess, tuple(warnings))
    guessed = guess(input, graph_hint)
    fields = {**guessed.fields, **guessed.more}
    made = build({k: v for k, v in fields.items() if not (whole and k == "fraction")}, input)
    if guessed.source == "guess":
        warnings.append(_announce(f"{guessed.preset!r} ({made})" if guessed.preset else f"{made}", guessed.why))
    return ResolvedPreprocess(made, guessed.source, guessed.why, tuple(warnings))


def _sources(path: Path | None, metadata: Mapping[str, str]) -> Iterator[_PreprocessSource]:
    """Yield the sources that exist, best first."""
    stamp = stamp_of(metadata).get("picture")  # null for a preprocessing that is a Python function
    if stamp is not None:
        yield _PreprocessSource("metadata", f"the metadata '{BAKED}'", lambda _: baked(stamp), guess_in(stamp))
    text = Card.of(metadata).preprocess
    if text is not None:
        yield _PreprocessSource("card", "the metadata 'onnxcam'", lambda _: fields_of(text))
    if is_image_metadata(metadata):
        yield _images("metadata", "ONNX's metadata of images", metadata)
    for name in ("preprocessor_config.json", "processor_config.json"):
        config = sidecar.beside(path, name)
        config = config.get("image_processor", config)
        if isinstance(config, dict) and config.keys() & {"image_mean", "do_resize", "do_rescale"}:
            yield _PreprocessSource("file", name, partial(hugging_face, config))
    pretrained = sidecar.beside(path, "config.json").get("pretrained_cfg")
    if isinstance(pretrained, dict):
        yield _PreprocessSource("file", "config.json (timm)", partial(timm, pretrained))
    for name in ("inference.yml", "infer_cfg.yml"):
        stated = sidecar.beside(path, name)
        if has_operators(stated):
            yield _PreprocessSource("file", f"{name} (PaddlePaddle)", partial(paddle, stated))
    if "stride" in metadata and ("task" in metadata or "names" in metadata):
        yield _PreprocessSource("metadata", "Ultralytics' metadata", partial(ultralytics, metadata))
    exported = sidecar.beside(path, "metadata_properties.json")
    if is_image_metadata(exported):
        yield _images("file", "metadata_properties.json (Custom Vision)", exported)


def _images(kind: str, name: str, metadata: Mapping[str, Any]) -> _PreprocessSource:
    return _PreprocessSource(kind, name, partial(image_metadata, metadata), caution=linear_light(metadata))


def _without_values(fields: Fields, tensor: TensorSpec) -> Fields:
    """Drop the normalisation if the input holds integers of unknown scale: it was written for the float model."""
    if tensor.normalises:
        return fields
    return {key: value for key, value in fields.items() if key not in ("mean", "std", "range")}


def _explicit(spec: Spec, tensor: TensorSpec) -> Preprocess:
    if isinstance(spec, CallablePreprocess):
        return spec
    if isinstance(spec, Preprocess):
        spec = replace(spec, **OWN_SIZE) if tensor.tiled else spec
        check(spec, replace(tensor, layout=spec.layout))
        return replace(spec, dtype=tensor.dtype, units=tensor.units)
    if isinstance(spec, str):
        return parse(spec, tensor)
    if callable(spec):
        return CallablePreprocess(function=spec, layout=tensor.layout, dtype=tensor.dtype)
    raise PreprocessError(f"preprocess cannot be a {type(spec).__name__}; give a string, a Preprocess or a function")


def _announce(made: str, why: str) -> str:
    return (
        f"the preprocessing is a guess: {made}, because {why}; if the scores look wrong, "
        f"state preprocess= (--preprocess) as one of {', '.join(PRESETS)} or as key=value pairs"
    )
