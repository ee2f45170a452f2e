"""Convert a source: export, card, precision, exposed layers, verification, and the move of the file into place."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

import onnxcam
from onnxcam import files
from onnxcam.autodiff import STANDARD
from onnxcam.errors import ConversionError, nearest
from onnxcam.graph.io import load, save
from onnxcam.instrument import AUTO, Tap, expose, taps
from onnxcam.media import image as pictures
from onnxcam.metadata import labels as labelling
from onnxcam.metadata.card import CLASSIFIERS, TASKS, Card
from onnxcam.passes import canonical
from onnxcam.preprocess import TensorSpec
from onnxcam.preprocess import resolve as resolve_preprocess
from onnxcam.preprocess.parser import fields_of
from onnxcam.structure.layout import is_picture, picture_input
from onnxcam.structure.names import module_names
from onnxcam.targets import find_scores
from onnxcam_converters import precision
from onnxcam_converters.source import Exported, Source
from onnxcam_converters.verify import VerificationRow, Verifier

__all__ = ["Conversion", "ConversionOptions", "convert"]

_LARGEST_INLINE = 1 << 30  # largest size in bytes of weights inside the file; protobuf is limited to 2 GiB


@dataclass(frozen=True)
class ConversionOptions:
    """Options of a conversion, for every source.

    Args:
        preprocess: Preprocessing of images (docs/preprocess.md), stored in the file.
        labels: A file of class names, or the names.
        task: ``"multi-label"`` if several classes can apply at once; other tasks: docs/card.md.
        vocabulary: Words of each text input; the index of a word is its position.
        rate: Of a model of signals: the samples, or frames of features, in a second that it takes.
        expose: Layers whose activations become outputs: names, ``"auto"``, ``"all-blocks"``.
        gradients: Add the gradient of a class's score at these layers (default: ``"auto"``).
        input_gradient: Add the gradient at the input.
        precision: ``"float32"``, ``"fp16"`` or ``"int8"``.
        calibrate: Folder of typical images, for int8.
        verify_on: Images on which file and framework are compared, in addition to random inputs.
        verify: Compare the file with the framework.
        overwrite: Replace an existing file that onnxcam did not write.

    Raises:
        ConversionError: Unknown precision or task, or int8 without images.
    """

    preprocess: Any = None
    labels: str | os.PathLike[str] | Sequence[str] | None = None
    task: str | None = None
    vocabulary: Mapping[str, Sequence[str]] = field(default_factory=dict)
    rate: float | None = None
    expose: Sequence[str] = ()
    gradients: bool = False
    input_gradient: bool = False
    precision: str = "float32"
    calibrate: str | os.PathLike[str] | None = None
    verify_on: Sequence[str | os.PathLike[str]] = ()
    verify: bool = True
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.precision not in precision.PRECISIONS:
            raise ConversionError(
                f"no precision is called {self.precision!r}; there are {', '.join(precision.PRECISIONS)}."
                f"{nearest(self.precision, precision.PRECISIONS)}"
            )
        if self.precision == "int8" and self.calibrate is None:
            raise ConversionError(
                "int8 needs images to measure the range of each activation; give a folder of a few hundred "
                "typical images (--calibrate FOLDER)"
            )
        if self.precision == "int8" and self.calibrate is not None:
            precision.calibration_images(Path(self.calibrate))
        if isinstance(self.preprocess, str):
            fields_of(self.preprocess)
        for picture in self.verify_on:
            pictures.read(picture)
        if self.task is not None and self.task not in TASKS:
            raise ConversionError(f"no task is called {self.task!r}; there are {', '.join(TASKS)}")

    @property
    def layers(self) -> Sequence[str]:
        """The layers to expose."""
        return self.expose or ([AUTO] if self.gradients else [])


@dataclass(frozen=True)
class Conversion:
    """Result of a conversion.

    Attributes:
        path: The ONNX file.
        exporter: Name of the exporter.
        verification: One row per comparison with the framework.
        warnings: Messages for the user.
        outputs: Name and meaning of each added output.
    """

    path: Path
    exporter: str
    verification: Sequence[VerificationRow]
    warnings: Sequence[str]
    outputs: Sequence[tuple[str, str]] = ()

    def warned(self, text: str) -> Conversion:
        """Return a copy with one more warning."""
        return replace(self, warnings=[*self.warnings, text])


def convert(source: Source, path: str | os.PathLike[str], options: ConversionOptions) -> Conversion:
    """Convert *source* to the ONNX file *path* and verify it; if anything fails, write nothing.

    Raises:
        ConversionError: The export fails, or file and framework differ.
        OnnxcamError: An option does not fit the model.
    """
    target = Path(path)
    with _workshop(target, overwrite=options.overwrite) as folder:
        exported = source.export(folder / "exported.onnx")
        gc.collect()  # an exporter's graphs are reference cycles that hold the weights
        model = load(folder / "exported.onnx")
        card = _card(model, source, exported, options)
        card.put(model)
        _tidy(model)
        verifier = Verifier(source, _picture_feeds(model, options)) if options.verify else None
        layers: Sequence[Tap] = taps(canonical(model.clone(), STANDARD), options.layers) if options.layers else []
        reached = exported.precision
        if options.precision != "float32":
            if reached != "float32":
                raise ConversionError(f"the model computes in {reached} already; leave --precision out")
            if verifier is not None:
                verifier.backward(model, layers)
                verifier.forward(model, layers)
            model, reached = _lowered(model, folder, options), options.precision
        finished, exposed, outputs = _exposed(model, card, layers, options)
        written = _written(finished, folder / "out", target)
        if verifier is not None:
            verifier.backward(model, layers, reached)
            verifier.forward(load(written), exposed, reached)
        _publish(written.parent, target, overwrite=options.overwrite)
        rows, notes = (verifier.rows, verifier.notes) if verifier is not None else ((), ())
        return Conversion(target, exported.exporter, rows, [*exported.warnings, *notes], outputs)


def _tidy(model: ir.Model) -> None:
    """Remove metadata of exporters: stack traces, source paths, types. The card has the layer names."""
    model.doc_string = None
    for key in [key for key in model.metadata_props if key.startswith("pkg.")]:
        del model.metadata_props[key]
    graphs: list[Any] = [*model.graphs(), *model.functions.values()]
    for graph in graphs:
        graph.doc_string = None
        graph.metadata_props.clear()
        weights = graph.initializers.values() if isinstance(graph, ir.Graph) else ()
        for value in (*graph.inputs, *weights, *(y for node in graph for y in node.outputs)):
            value.doc_string = None
            value.metadata_props.clear()
        for node in graph:
            node.doc_string = None
            node.metadata_props.clear()


def _card(model: ir.Model, source: Source, exported: Exported, options: ConversionOptions) -> Card:
    layers = dict(exported.layers) or {
        y.name or "": names[-1] for node in model.graph for y in node.outputs if (names := module_names(node))
    }
    labels: Sequence[str] = ()
    if options.labels is not None:
        labels = labelling.resolve(options.labels, _classes(model, options)) or ()
    preprocess = None
    if options.preprocess is not None:
        preprocess = _preprocess(picture_input(model.graph), options)
    producer = {"onnxcam": onnxcam.__version__, "framework": source.framework, "exporter": exported.exporter}
    return Card(options.task, preprocess, labels, options.vocabulary, layers, producer, rate=options.rate).kept(model)


def _preprocess(image: ir.Value, options: ConversionOptions) -> str:
    """Return the preprocessing of the input *image* as its card states it; the scaling of a signal is a word."""
    stated = options.preprocess
    if isinstance(stated, str) and (options.rate is not None or not is_picture(image)):
        return stated
    return str(resolve_preprocess(stated, TensorSpec.of(image)).preprocess)


def _classes(model: ir.Model, options: ConversionOptions) -> int | None:
    """Return the number of classes, None if *model* is no classifier."""
    if options.task not in (None, *CLASSIFIERS):
        return None
    return find_scores(canonical(model.clone(), STANDARD).graph).classes


def _lowered(model: ir.Model, folder: Path, options: ConversionOptions) -> ir.Model:
    if options.precision == "fp16":
        return precision.to_float16(model)
    image, preprocess = _preprocessing(model, options)
    return precision.to_int8(model, folder, image, preprocess, Path(options.calibrate or ""))


def _exposed(
    model: ir.Model, card: Card, layers: Sequence[Tap], options: ConversionOptions
) -> tuple[ir.Model, Sequence[Tap], Sequence[tuple[str, str]]]:
    """Make *layers* outputs with the framework's names; return model, taps, and the added outputs."""
    if not (layers or options.input_gradient):
        return model, [], []
    model = canonical(model.clone(), STANDARD)
    tensors = {value.name: value for node in model.graph for value in node.outputs}
    lost = next((tap for tap in layers if tap.name not in tensors), None)
    if lost is not None:
        raise ConversionError(f"layer {lost} has no tensor of its own in {options.precision}; expose another layer")
    found = [Tap(tensors[tap.name], tap.layer) for tap in layers]
    renamed = {}
    for tap in found:
        if tap.layer and tap.layer not in tensors and not tap.value.is_graph_output():
            renamed[tap.name] = tap.layer
            tap.value.name = tap.layer
    outputs = expose(model, found, gradients=options.gradients, input_gradient=options.input_gradient)
    named = {renamed.get(tensor, tensor): layer for tensor, layer in card.layers.items()}
    replace(card, layers=named).kept(model).put(model)
    _tidy(model)
    return model, found, outputs


def _picture_feeds(model: ir.Model, options: ConversionOptions) -> Mapping[str, Mapping[str, np.ndarray]]:
    """Return the input tensors of each verification image, by file name."""
    files: Sequence[str | os.PathLike[str]] = options.verify_on
    if options.precision == "int8" and not files:
        files = precision.calibration_images(Path(options.calibrate or ""))[:2]
    if not files:
        return {}
    image, preprocess = _preprocessing(model, options)
    return {Path(file).name: {image: preprocess(pictures.read(file))} for file in files}


def _preprocessing(model: ir.Model, options: ConversionOptions) -> tuple[str, Callable[[Any], Any]]:
    """Return the name of the image input, and its preprocessing."""
    image = picture_input(model.graph)
    spec, metadata = TensorSpec.of(image), model.metadata_props
    found = resolve_preprocess(options.preprocess, spec, metadata=metadata, graph_hint=image)
    return image.name or "", found.preprocess


@contextmanager
def _workshop(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a hidden temporary folder beside *target*; delete it afterwards."""
    files.require_writable(target, overwrite=overwrite)
    with files.writing(target):
        folder = Path(tempfile.mkdtemp(prefix=".onnxcam-", dir=target.absolute().parent))
    with files.temporary(folder):
        yield folder


def _written(model: ir.Model, folder: Path, target: Path) -> Path:
    """Write *model* into *folder*, with small weights inside the file; return the file."""
    file = folder / target.name
    with files.writing(target):
        folder.mkdir()
    save(model, file, inline=_LARGEST_INLINE)
    return file


def _publish(folder: Path, target: Path, *, overwrite: bool) -> None:
    """Move the files in *folder* to the folder of *target*: weights first, the model last."""
    for file in sorted(folder.iterdir(), key=lambda file: file.name == target.name):
        place = target.absolute().parent / file.name
        files.require_writable(place, overwrite=overwrite)
        with files.writing(place):
            os.replace(file, place)
