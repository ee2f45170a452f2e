"""PyTorch's exporters: the newer one, and the older one where it fails."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxcam.errors import ConversionError
from onnxcam.layer import module_names
from onnxcam_converters.source import Exported
from onnxcam_converters.torchmodel import outputs_of
from onnxcam_converters.trouble import reason

if TYPE_CHECKING:
    from onnxcam_converters.pytorch import TorchSource

INSIDE = 1 << 30  # bytes of weights that a file may hold itself; protobuf ends at 2 GiB

_LOGGERS = ("torch.onnx", "torch.export", "torch.fx", "torch._dynamo", "onnxscript", "onnx_ir")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep PyTorch's warnings and logs from the user: what matters is said in our own words."""
    loggers = {logging.getLogger(name): logging.getLogger(name).level for name in _LOGGERS}
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in loggers.items():
            logger.setLevel(level)


def export(source: TorchSource, path: Path) -> Exported:
    """Write *source* to *path*; ConversionError with the newer exporter's reason where neither can."""
    import torch

    if isinstance(source.module, torch.jit.ScriptModule):
        return _by_tracing(source, path, ["a TorchScript file is written by PyTorch's older exporter"])
    try:
        return _by_export(source, path)
    except ConversionError:
        raise
    except Exception as error:
        if source.program is not None or _depends_on_data(error):
            raise _cannot(error) from error
        why = f"PyTorch's newer exporter refused the model ({reason(error)}): the older one wrote it"
        try:
            return _by_tracing(source, path, [why])
        except Exception as second:
            raise _cannot(error, second) from error


def _cannot(error: Exception, second: Exception | None = None) -> ConversionError:
    text = f"the model cannot be exported: {reason(error)}"
    if second is not None:
        text += f"; nor by the older exporter: {reason(second)}"
    if _depends_on_data(error):
        text += "; its control flow depends on the data: use torch.where or torch.cond there"
    return ConversionError(text)


def _depends_on_data(error: BaseException) -> bool:
    return "data-dependent" in f"{error} {error.__cause__}".lower() or "DataDependent" in type(error).__name__


def _by_export(source: TorchSource, path: Path) -> Exported:
    import torch

    program = source.program
    if program is None:
        args, kwargs = source.call.with_tensors(source.tracing())
        shapes = _shapes(source)
        program = torch.export.export(source.module, args, kwargs, dynamic_shapes=shapes, strict=False)
    made = torch.onnx.export(
        program,
        dynamo=True,
        optimize=False,
        verbose=False,
        input_names=source.call.names,
        output_names=source.results,
        opset_version=source.opset,
    )
    assert made is not None
    graph = made.model.graph
    layers = {y.name or "": names[-1] for node in graph for y in node.outputs if (names := module_names(node))}
    _select(made.model, source.outputs)
    made.optimize()  # a tensor that is left has the value that it had
    _name_axes(made.model, source)
    weights = sum(value.const_value.nbytes for value in graph.initializers.values() if value.const_value is not None)
    made.save(path, external_data=weights > INSIDE)
    return Exported("torch.onnx.export (dynamo)", layers, _fixed(made.model, source))


def _select(model: ir.Model, names: Sequence[str]) -> None:
    """Keep the outputs *names* only."""
    by_name = {value.name: value for value in model.graph.outputs}
    model.graph.outputs[:] = [by_name[name] for name in names]


def _shapes(source: TorchSource) -> Any:
    """Return the open axes as `torch.export` wants them: in the form of the arguments, by parameter."""
    import inspect

    import torch

    auto = torch.export.Dim.AUTO
    marks = [dict.fromkeys(source.open_axes(x), auto) or None for x in source.call.tensors]
    args, kwargs = source.call.with_tensors(marks)
    return inspect.signature(source.module.forward).bind(*args, **kwargs).arguments


def _name_axes(model: ir.Model, source: TorchSource) -> None:
    """Call the open axes ``batch``, ``height`` and ``width`` rather than s0, s1, s2."""
    renamed: dict[str, str] = {}
    for value, tensor in zip(model.graph.inputs, source.call.tensors, strict=True):
        for axis, name in source.open_axes(tensor).items():
            dim = value.shape[axis] if value.shape is not None else None
            if isinstance(dim, ir.SymbolicDim) and dim.value is not None:
                renamed.setdefault(dim.value, name if name not in renamed.values() else f"{name}_{value.name}")
    if not renamed:
        return
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, renamed)) + r")\b")
    values = {x for graph in model.graphs() for node in graph for x in (*node.inputs, *node.outputs) if x is not None}
    for value in values | {*model.graph.inputs, *model.graph.outputs}:
        if value.shape is not None and not value.shape.is_static():
            dims = [
                d if isinstance(d, int) or d.value is None else _renamed(pattern, renamed, d.value) for d in value.shape
            ]
            value.shape = ir.Shape(dims)


def _renamed(pattern: re.Pattern[str], names: Mapping[str, str], dim: str) -> str:
    return pattern.sub(lambda match: names[match[1]], dim)


def _fixed(model: ir.Model, source: TorchSource) -> list[str]:
    """Return a warning for each axis that should be open and is not."""
    return [
        f"axis {axis} ({name}) of input {value.name!r} is fixed at {value.shape[axis]}: the model takes no other length"
        for value, tensor in zip(model.graph.inputs, source.call.tensors, strict=True)
        for axis, name in source.open_axes(tensor).items()
        if value.shape is not None and isinstance(value.shape[axis], int)
    ]


def _by_tracing(source: TorchSource, path: Path, words: list[str]) -> Exported:
    import torch

    tracer_warning: Any = torch.jit.TracerWarning  # type: ignore[attr-defined]
    args, kwargs = source.call.with_tensors(source.tracing())
    axes = {name: source.open_axes(x) for name, x in zip(source.call.names, source.call.tensors, strict=True)}
    results = {} if source.dynamic == "none" else _open_outputs(source, args, kwargs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", tracer_warning)
        torch.onnx.export(
            source.module,
            args,
            str(path),
            kwargs=kwargs or None,
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,  # it is in evaluation mode; EVAL would fold layers away
            input_names=source.call.names,
            output_names=source.results,
            opset_version=source.opset,
            dynamic_axes={name: each for name, each in {**axes, **results}.items() if each},
        )
    if source.outputs != source.results:
        model = ir.load(path)
        _select(model, source.outputs)
        RemoveUnusedNodesPass()(model)
        ir.save(model, path)
    traced = [str(each.message).splitlines()[0] for each in caught if each.category is tracer_warning]
    words += [f"PyTorch's tracer warns: {text}" for text in dict.fromkeys(traced)]
    return Exported("torch.onnx.export (TorchScript)", {}, words)


def _open_outputs(source: TorchSource, args: Any, kwargs: Any) -> dict[str, dict[int, str]]:
    """Return the outputs whose first axis is the batch."""
    import torch

    with torch.inference_mode():
        found = outputs_of(source.module(*args, **kwargs), source.results)
    count = len(source.tracing()[0])
    return {name: {0: "batch"} for name, y in found.items() if y.dim() and len(y) == count}
