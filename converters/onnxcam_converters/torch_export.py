"""Export with torch.export (dynamo), and with the older TorchScript exporter if that fails."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxcam.errors import ConversionError
from onnxcam.structure.names import module_names
from onnxcam_converters.framework_errors import describe_error
from onnxcam_converters.source import Exported
from onnxcam_converters.torch_call import outputs_of

if TYPE_CHECKING:
    from onnxcam_converters.torch_source import TorchSource

__all__ = ["export", "symbolic"]


def export(source: TorchSource, path: Path) -> Exported:
    """Write *source* to *path*; ConversionError with the newer exporter's reason if both exporters fail."""
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
        why = f"PyTorch's newer exporter refused the model ({describe_error(error)}): the older one wrote it"
        try:
            return _by_tracing(source, path, [why])
        except Exception as second:
            raise _cannot(error, second) from error


def _cannot(error: Exception, second: Exception | None = None) -> ConversionError:
    text = f"the model cannot be exported: {describe_error(error)}"
    if second is not None:
        text += f"; nor by the older exporter: {describe_error(second)}"
    if _depends_on_data(error):
        text += "; its control flow depends on the data: use torch.where or torch.cond there"
    return ConversionError(text)


def _depends_on_data(error: BaseException) -> bool:
    return "data-dependent" in f"{error} {error.__cause__}".lower() or "DataDependent" in type(error).__name__


def _by_export(source: TorchSource, path: Path) -> Exported:
    import torch

    program, words = source.program, list[str]()
    if program is None:
        program = _captured(source)
        fixed = _fixed(program, source)
        if fixed:  # its graph may contain constants computed from the traced lengths
            words = [
                f"the model fixes axis {axis} ({source.open[name][axis]}) of input {name!r}" for name, axis in fixed
            ]
            source.close(fixed)
            program = _captured(source)
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
    made.optimize()  # remaining tensors keep their values
    _name_axes(made.model, source)
    made.save(path, external_data=True)  # written in pieces; inside the file, memory would hold the weights three times
    return Exported("torch.onnx.export (dynamo)", layers, words)


def _captured(source: TorchSource) -> Any:
    import inspect

    import torch

    args, kwargs = source.call.with_tensors(source.tracing())
    marks = [dict.fromkeys(source.open[name], torch.export.Dim.AUTO) or None for name in source.call.names]
    by_position, by_name = source.call.with_tensors(marks)
    shapes = inspect.signature(source.module.forward).bind(*by_position, **by_name).arguments
    with redirect_stderr(io.StringIO()):  # PyTorch prints the unfinished graph
        return torch.export.export(source.module, args, kwargs, dynamic_shapes=shapes, strict=False)


def _fixed(program: Any, source: TorchSource) -> list[tuple[str, int]]:
    """Return the axes (input, axis) that should be open but have a fixed length in the program."""
    found = symbolic(program, source.call.names)
    return [(name, axis) for name, axes in source.open.items() for axis in axes if axis not in found[name]]


def symbolic(program: Any, names: Sequence[str]) -> dict[str, dict[int, str]]:
    """Return the open axes of a program's inputs, by name and axis. Axis 0 is called ``batch``."""
    user = set(program.graph_signature.user_inputs)
    nodes = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in user]
    return {
        name: {
            axis: f"axis_{axis}" if axis else "batch"
            for axis, length in enumerate(node.meta["val"].shape)
            if not str(length).isdigit()  # a symbol may have one value only
        }
        for name, node in zip(names, nodes, strict=True)
    }


def _select(model: ir.Model, names: Sequence[str]) -> None:
    """Remove all outputs but *names*."""
    by_name = {value.name: value for value in model.graph.outputs}
    model.graph.outputs[:] = [by_name[name] for name in names]


def _name_axes(model: ir.Model, source: TorchSource) -> None:
    """Rename the open axes from s0, s1, s2 to ``batch``, ``height``, ``width``."""
    renamed: dict[str, str] = {}
    for value in model.graph.inputs:
        for axis, name in source.open.get(value.name or "", {}).items():
            dim = value.shape[axis] if value.shape is not None else None
            if isinstance(dim, ir.SymbolicDim) and dim.value is not None:
                unique = name == "batch" or name not in renamed.values()
                renamed.setdefault(dim.value, name if unique else f"{name}_{value.name}")
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


def _by_tracing(source: TorchSource, path: Path, words: list[str]) -> Exported:
    import torch

    jit: Any = torch.jit  # its types leave TracerWarning out
    args, kwargs = source.call.with_tensors(source.tracing())
    results = _open_outputs(source, args, kwargs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", jit.TracerWarning)
        torch.onnx.export(
            source.module,
            args,
            str(path),
            kwargs=kwargs or None,
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,  # the module is in evaluation mode; EVAL would also fold layers
            input_names=source.call.names,
            output_names=source.results,
            opset_version=source.opset,
            dynamic_axes={name: each for name, each in {**source.open, **results}.items() if each},
        )
    if source.outputs != source.results:
        model = ir.load(path)
        _select(model, source.outputs)
        RemoveUnusedNodesPass()(model)
        ir.save(model, path)
    traced = [str(each.message).splitlines()[0] for each in caught if each.category is jit.TracerWarning]
    words += [f"PyTorch's tracer warns: {text}" for text in dict.fromkeys(traced)]
    return Exported("torch.onnx.export (TorchScript)", {}, words)


def _open_outputs(source: TorchSource, args: Any, kwargs: Any) -> dict[str, dict[int, str]]:
    """Return the open axes of the outputs: axis 0 where it is the batch."""
    import torch

    if not any(0 in axes for axes in source.open.values()):
        return {}
    more, more_named = source.call.with_tensors(source.tracing(1))
    batch = next(len(x) for name, x in zip(source.call.names, source.tracing(), strict=True) if 0 in source.open[name])
    with torch.inference_mode():
        runs = {batch: outputs_of(source.module(*args, **kwargs), source.results)}
        with suppress(Exception):  # the model may fix its batch
            runs[batch + 1] = outputs_of(source.module(*more, **more_named), source.results)
    return {
        name: {0: "batch"}
        for name in runs[batch]
        if all(run[name].dim() and len(run[name]) == count for count, run in runs.items())
    }
