"""Find the preprocessing of a model: from the user, its metadata, files beside it, or a guess."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
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
from onnxcam.preprocess.baked import baked
from onnxcam.preprocess.guess import guess
from onnxcam.preprocess.parser import PRESETS, build, check, fields_of, parse
from onnxcam.preprocess.tensor_spec import TensorSpec
from onnxcam.preprocess.third_party import Fields, hugging_face, timm, ultralytics
from onnxcam.preprocess.transform import CallablePreprocess, Preprocess

__all__ = ["Spec", "resolve"]

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


def resolve(
    spec: Spec | None,
    input: TensorSpec,
    *,
    path: Path | None = None,
    metadata: Mapping[str, str] | None = None,
    graph_hint: ir.Value | None = None,
) -> tuple[Preprocess, list[str]]:
    """Return the preprocessing for the model's *input*, and warnings.

    Sources, in order: *spec*; the metadata of `bake` and the card in *metadata*; files of Hugging Face or timm beside
    the model at *path*, and Ultralytics' metadata; a guess from the graph after *graph_hint*, the input's value, with a
    warning. A source that does not fit the input is skipped with a warning.

    Raises:
        PreprocessError: *spec* does not fit the input, or the input does not take an image.
    """
    if spec is not None:
        return _explicit(spec, input), []
    warnings: list[str] = []
    for source, read in _sources(path, metadata or {}):
        try:
            return build(_without_values(read(input), input), input), warnings
        except PreprocessError as error:
            warnings.append(f"the preprocessing in {source} is passed over: {error}")
        except _MALFORMED:
            warnings.append(f"the preprocessing in {source} is passed over: it has another form than expected")
    fields, why = guess(input, graph_hint)
    preprocess = build(fields, input)
    return preprocess, [*warnings, _announce(preprocess, fields, why)]


def _sources(path: Path | None, metadata: Mapping[str, str]) -> Iterator[tuple[str, Callable[[TensorSpec], Fields]]]:
    """Yield the sources that exist, best first: a name for messages, and a reader for an input."""
    stamp = stamp_of(metadata).get("picture")  # null for a preprocessing that is a Python function
    if stamp is not None:
        yield f"the metadata '{BAKED}'", lambda _: baked(stamp)
    text = Card.of(metadata).preprocess
    if text is not None:
        yield "the metadata 'onnxcam'", lambda _: fields_of(text)
    for name in ("preprocessor_config.json", "processor_config.json"):
        config = sidecar.beside(path, name)
        config = config.get("image_processor", config)
        if isinstance(config, dict) and config.keys() & {"image_mean", "do_resize", "do_rescale"}:
            yield name, partial(hugging_face, config)
    pretrained = sidecar.beside(path, "config.json").get("pretrained_cfg")
    if isinstance(pretrained, dict):
        yield "config.json (timm)", partial(timm, pretrained)
    if "stride" in metadata and ("task" in metadata or "names" in metadata):
        yield "Ultralytics' metadata", partial(ultralytics, metadata)


def _without_values(fields: Fields, tensor: TensorSpec) -> Fields:
    """Drop the normalisation if the input holds integers of unknown scale: it was written for the float model."""
    if tensor.normalises:
        return fields
    return {key: value for key, value in fields.items() if key not in ("mean", "std", "range")}


def _explicit(spec: Spec, tensor: TensorSpec) -> Preprocess:
    if isinstance(spec, CallablePreprocess):
        return spec
    if isinstance(spec, Preprocess):
        check(spec, replace(tensor, layout=spec.layout))
        return replace(spec, dtype=tensor.dtype, units=tensor.units)
    if isinstance(spec, str):
        return parse(spec, tensor)
    if callable(spec):
        return CallablePreprocess(function=spec, layout=tensor.layout, dtype=tensor.dtype)
    raise PreprocessError(f"preprocess cannot be a {type(spec).__name__}; give a string, a Preprocess or a function")


def _announce(preprocess: Preprocess, fields: Fields, why: str) -> str:
    name = next(name for name, preset in PRESETS.items() if preset is fields)
    return (
        f"the preprocessing is a guess: '{name}' ({preprocess}), because {why}; if the scores look wrong, "
        f"state preprocess= (--preprocess) as one of {', '.join(PRESETS)} or as key=value pairs"
    )
