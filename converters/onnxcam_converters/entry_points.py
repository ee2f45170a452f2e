"""Public functions: convert from PyTorch, from TensorFlow, from a file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxcam import files, paths
from onnxcam.errors import ConversionError
from onnxcam.paths import PathLike
from onnxcam.text import in_message
from onnxcam_converters.framework_errors import import_framework
from onnxcam_converters.pipeline import Conversion, ConversionOptions, convert

__all__ = ["from_file", "from_pytorch", "from_tensorflow"]

_PYTORCH_SUFFIXES = (".pt2", ".pt", ".pth", ".ts", ".torchscript")
_TENSORFLOW_SUFFIXES = (".keras", ".h5", ".hdf5", ".pb", ".tflite")
_DEFAULT_SHAPE = "1x3x224x224"
"""Default input of a PyTorch model."""


def from_pytorch(
    model: Any,
    path: PathLike,
    example: Any,
    *,
    dynamic: str = "batch",
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    opset: int | None = None,
    **options: Any,
) -> Conversion:
    """Convert a PyTorch model to ONNX and verify that both compute the same.

    Args:
        model: An ``nn.Module`` (not modified), a TorchScript module or an ``ExportedProgram``.
        path: The ``.onnx`` file to write; not touched if anything fails.
        example: Arguments of the call: a tensor, a tuple of tensors, or a dict by parameter.
        dynamic: Open axes: ``"none"``, ``"batch"``, or ``"size"`` (batch, height and width).
        inputs: Names of the inputs; default: the parameters of ``forward``.
        outputs: Names of the outputs; for a model that returns a dict, the keys to keep.
        opset: The opset; default: the exporter's.
        **options: Fields of `onnxcam_converters.pipeline.ConversionOptions`.

    Raises:
        ConversionError: The model cannot be converted, or the results differ; one line says where.

    Example:
        >>> from_pytorch(model, "model.onnx", torch.rand(1, 3, 224, 224), preprocess="imagenet", expose=["layer4"])
    """
    from onnxcam_converters.torch_source import TorchSource

    conversion_options = ConversionOptions(**options)
    source = TorchSource(model, example, dynamic=dynamic, inputs=inputs, outputs=outputs, opset=opset)
    return convert(source, path, conversion_options)


def from_tensorflow(
    model: Any,
    path: PathLike,
    *,
    inputs: Sequence[str] | Mapping[str, Sequence[int | None]] | None = None,
    outputs: Sequence[str] | None = None,
    signature: str | None = None,
    opset: int | None = None,
    unsafe_pickle: bool = False,
    **options: Any,
) -> Conversion:
    """Convert a TensorFlow, Keras or TFLite model to ONNX and verify that both compute the same.

    Args:
        model: A Keras model, or the path of a ``.keras``, ``.h5``, ``.pb`` or ``.tflite`` file or a SavedModel folder.
        path: The ``.onnx`` file to write; not touched if anything fails.
        inputs: Names of the inputs of a frozen graph; or shapes by name for inputs without a defined shape.
        outputs: Names of the outputs of a frozen graph; for other models, the outputs to keep.
        signature: Name of the signature, for a SavedModel with several.
        opset: The opset, 13 to 18 (default).
        unsafe_pickle: Allow the file to run its own Python code (Lambda layers).
        **options: As `from_pytorch`.

    Raises:
        ConversionError: The model cannot be converted, or the results differ; one line says where.
    """
    from onnxcam_converters.tensorflow_source import tensorflow_source

    conversion_options = ConversionOptions(**options)
    source = tensorflow_source(
        model, inputs=inputs, outputs=outputs, signature=signature, opset=opset, unsafe_pickle=unsafe_pickle
    )
    return convert(source, path, conversion_options)


def from_file(
    source: PathLike,
    path: PathLike,
    *,
    example: Sequence[str] = (),
    arguments: Mapping[str, Any] | None = None,
    weights: PathLike | None = None,
    unsafe_pickle: bool = False,
    dynamic: str = "batch",
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    signature: str | None = None,
    opset: int | None = None,
    **options: Any,
) -> Conversion:
    """Convert a file, a folder, or the result of ``package.module:callable`` to ONNX, and verify it.

    Args:
        source: ``.pt2``, ``.pt`` (TorchScript), ``.keras``, ``.h5``, ``.pb``, ``.tflite``, a SavedModel, a callable.
        path: The ``.onnx`` file.
        example: The inputs of a PyTorch model, each ``[name=]1x3x224x224[:dtype]``.
        arguments: Keyword arguments of the callable.
        weights: A ``.pt``, ``.pth`` or ``.safetensors`` file for the network that the callable returns.
        unsafe_pickle: Read pickled objects and Lambda layers, which can run any code.
        dynamic, inputs, outputs, opset, **options: As `from_pytorch`.
        signature: As `from_tensorflow`.

    Raises:
        ConversionError: The model cannot be converted, or the results differ; one line says where.
    """
    words: dict[str, Any] = {"inputs": inputs, "outputs": outputs, **options}
    text, file = str(source), Path(source)
    read = [file] if weights is None else [file, weights]
    files.require_writable(Path(path), read, overwrite=options.get("overwrite", False))
    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", text) and paths.kind(file) == "missing":
        from onnxcam_converters.torch_files import load_weights, make_model

        model = make_model(text, arguments or {})
        if _of_keras(model):
            return from_tensorflow(model, path, signature=signature, opset=opset, **words)
        if weights is not None:
            load_weights(_module(model, text), Path(weights), unsafe_pickle)
        return _from_pytorch(_module(model, text), path, example, {"dynamic": dynamic, "opset": opset, **words})
    if paths.kind(file) == "missing":
        raise ConversionError(
            f"'{in_message(text)}' does not exist; "
            "give a file, a SavedModel folder, or package.module:callable that makes a model"
        )
    if weights is not None:
        raise ConversionError(f"'{text}' has its own weights; use --weights with package.module:callable only")
    if file.is_dir() or file.suffix.lower() in _TENSORFLOW_SUFFIXES:
        return from_tensorflow(file, path, signature=signature, opset=opset, unsafe_pickle=unsafe_pickle, **words)
    if file.suffix.lower() in _PYTORCH_SUFFIXES:
        from onnxcam_converters.torch_files import load_model

        return _from_pytorch(
            load_model(file, unsafe_pickle), path, example, {"dynamic": dynamic, "opset": opset, **words}
        )
    raise ConversionError(_unknown(file))


def _from_pytorch(model: Any, path: PathLike, specs: Sequence[str], words: Mapping[str, Any]) -> Conversion:
    from onnxcam_converters.torch_call import example_of, parse_example

    known = example_of(model) if not specs else None
    example = parse_example(specs or [_DEFAULT_SHAPE]) if known is None else known
    made = from_pytorch(model, path, example, **words)
    if specs or known is not None:
        return made
    return made.warned(f"the model was called with {_DEFAULT_SHAPE}, as no input shape was given (--input 1x3x224x224)")


def _module(model: Any, source: str) -> Any:
    torch = import_framework("torch", "PyTorch")
    if not isinstance(model, torch.nn.Module):
        raise ConversionError(
            f"{source} returns a {type(model).__name__}; it must return an nn.Module or a Keras model"
        )
    return model


def _of_keras(model: Any) -> bool:
    return any(base.__module__.split(".")[0] in ("keras", "tensorflow", "tf_keras") for base in type(model).__mro__)


def _unknown(file: Path) -> str:
    if file.suffix.lower() == ".onnx":
        return f"'{file}' is ONNX already; `onnxcam instrument` exposes its layers and gradients"
    if file.suffix.lower() == ".safetensors":
        return (
            f"'{file}' has weights but no network; name a callable that makes the network: "
            f"onnxcam export package.module:callable --weights {file}"
        )
    known = ", ".join((*_PYTORCH_SUFFIXES, *_TENSORFLOW_SUFFIXES))
    return f"'{file}' cannot be converted; supported are {known} and SavedModel folders"
