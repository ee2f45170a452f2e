"""The source of a PyTorch model: ``nn.Module``, ExportedProgram or TorchScript module."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxcam.errors import ConversionError
from onnxcam_converters import torch_export
from onnxcam_converters.framework_errors import describe_error, import_framework
from onnxcam_converters.quiet import quiet_torch
from onnxcam_converters.source import Arrays, Exported
from onnxcam_converters.torch_call import ModuleCall, device_of, evaluating, frozen, hooked, outputs_of

__all__ = ["DYNAMIC", "TorchSource"]

DYNAMIC = ("none", "batch", "size")
"""Open axes of the file: none, the batch, or the batch and the spatial axes."""

_SPACE = ("depth", "height", "width")


class TorchSource:
    """A PyTorch model and the arguments of its call, as a `Source`.

    Args:
        model: An ``nn.Module``, a TorchScript module, or an ``ExportedProgram``.
        example: Arguments of the call: a tensor, a tuple of tensors, or a dict by parameter.
        dynamic: One of `DYNAMIC`.
        inputs: Names of the file's inputs; default: the parameters of ``forward``.
        outputs: Names of the file's outputs; default: the keys of a dict, else ``output``, ``output_1``, …
        opset: The opset to export at; default: the exporter's.

    Raises:
        ConversionError: the model cannot be called with *example*, or returns no tensor.
    """

    def __init__(
        self,
        model: Any,
        example: Any,
        *,
        dynamic: str = "batch",
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        opset: int | None = None,
    ) -> None:
        torch = import_framework("torch", "PyTorch")
        if dynamic not in DYNAMIC:
            raise ConversionError(f"dynamic={dynamic!r} is unknown; give one of {', '.join(DYNAMIC)}")
        self.framework = f"torch {torch.__version__}"
        self.program = model if isinstance(model, torch.export.ExportedProgram) else None
        self.module = model if self.program is None else _module(self.program)
        self.call = ModuleCall.of(self.module, example, inputs)
        self.opset = opset
        self._device = device_of(self.module)
        self._tensors = [x.detach().to(self._device) for x in self.call.tensors]
        self.open = self._open_axes(dynamic)  # input -> axis -> name, of the open axes
        result = self._try()
        found = list(outputs_of(result))
        if not found:
            kind = type(result).__name__
            raise ConversionError(f"the model returns no tensor but a {kind}; wrap it in one that returns tensors")
        self.outputs = list(outputs_of(result, outputs))
        self.results = self.outputs if len(self.outputs) == len(found) else found  # all outputs of the exporter

    def export(self, path: Path) -> Exported:
        """Write the file with the newer exporter, or with the older one if that fails."""
        with quiet_torch(), evaluating(self.module):
            return torch_export.export(self, path)

    def example(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return random arrays in the shapes of the example, with another batch size if the batch is open."""
        return {
            name: _random((_batch(x, 1) if 0 in self.open[name] else x).cpu().numpy(), rng)
            for name, x in zip(self.call.names, self._tensors, strict=True)
        }

    def run(self, feeds: Arrays, layers: Sequence[str]) -> dict[str, np.ndarray]:
        """Return outputs and activations computed by PyTorch."""
        import torch

        kept: dict[str, Any] = {}
        with torch.inference_mode(), quiet_torch(), evaluating(self.module), hooked(self.module, layers, kept):
            results = outputs_of(self._called(self._leaves(feeds)), self.outputs)
        return {name: array for name, tensor in {**results, **kept}.items() if (array := _array(tensor)) is not None}

    def gradients(self, feeds: Arrays, cotangents: Arrays, layers: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the gradients of `torch.autograd.grad`."""
        import torch

        leaves = dict(zip(self.call.names, self._leaves(feeds), strict=True))
        wanted = {name: leaf.requires_grad_() for name, leaf in leaves.items() if leaf.is_floating_point()}
        kept: dict[str, Any] = {}
        with (
            torch.enable_grad(),
            quiet_torch(),
            evaluating(self.module),
            frozen(self.module),
            hooked(self.module, layers, kept),
        ):
            results = outputs_of(self._called([leaf.clone() for leaf in leaves.values()]), self.outputs)
            wanted |= {name: y for name, y in kept.items() if y is not None and y.requires_grad}
            seeds = {
                name: torch.from_numpy(np.ascontiguousarray(dy)).to(self._device)
                for name, dy in cotangents.items()
                if results[name].requires_grad
            }
            if not seeds:
                return {}
            ys = [results[name] for name in seeds]
            found = torch.autograd.grad(ys, list(wanted.values()), list(seeds.values()), allow_unused=True)
        return {name: dx.cpu().numpy() for name, dx in zip(wanted, found, strict=True) if dx is not None}

    def tracing(self, more: int = 0) -> list[Any]:
        """Return the tensors for tracing, with *more* rows where the batch is open.

        A batch of one becomes two: PyTorch treats an axis of length 1 as fixed.
        """
        pairs = zip(self.call.names, self._tensors, strict=True)
        return [_batch(x, max(len(x), 2) + more) if 0 in self.open[name] else x for name, x in pairs]

    def close(self, fixed: Sequence[tuple[str, int]]) -> None:
        """Mark axes (input, axis) as fixed. Fixing the batch of one input fixes it for all."""
        batch = any(axis == 0 for _, axis in fixed)
        self.open = {
            name: {axis: word for axis, word in axes.items() if (name, axis) not in fixed and not (batch and axis == 0)}
            for name, axes in self.open.items()
        }

    def _open_axes(self, dynamic: str) -> dict[str, dict[int, str]]:
        if self.program is not None:
            return torch_export.symbolic(self.program, self.call.names)
        return {
            name: _axes(x, dynamic, self._tensors[0]) for name, x in zip(self.call.names, self._tensors, strict=True)
        }

    def _try(self) -> Any:
        """Call the model once with the example."""
        import torch

        try:
            with torch.inference_mode(), quiet_torch(), evaluating(self.module):
                return self._called(self._tensors)
        except Exception as error:
            shapes = ", ".join(f"{n} {list(x.shape)}" for n, x in zip(self.call.names, self._tensors, strict=True))
            raise ConversionError(
                f"the model cannot be called with {shapes}: {describe_error(error)}; give its input shape (--input)"
            ) from error

    def _called(self, tensors: Sequence[Any]) -> Any:
        args, kwargs = self.call.with_tensors(tensors)
        return self.module(*args, **kwargs)

    def _leaves(self, feeds: Arrays) -> list[Any]:
        import torch

        return [
            torch.from_numpy(np.array(feeds[name])).to(self._device) if name in feeds else tensor
            for name, tensor in zip(self.call.names, self._tensors, strict=True)
        ]


def _module(program: Any) -> Any:
    try:
        with quiet_torch():
            return program.module()
    except Exception as error:
        raise ConversionError(f"the program cannot be run: {describe_error(error)}; export it again") from error


def _axes(tensor: Any, dynamic: str, first: Any) -> dict[int, str]:
    """Return the open axes of an input. Axis 0 is the batch if its length equals that of the *first* input."""
    if dynamic == "none" or tensor.dim() == 0:
        return {}
    axes = {0: "batch"} if len(tensor) == len(first) else {}
    if dynamic == "size" and tensor.dim() in (4, 5):
        axes |= dict(zip(range(2, tensor.dim()), _SPACE[-tensor.dim() + 2 :], strict=True))
    return axes


def _batch(tensor: Any, count: int) -> Any:
    """Return *count* rows of *tensor*, repeating rows if there are fewer."""
    return tensor.repeat(-(-count // len(tensor)), *[1] * (tensor.dim() - 1))[:count]


def _random(like: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return random numbers for a float array. Integers may be indices and are kept."""
    return rng.standard_normal(like.shape).astype(like.dtype) if like.dtype.kind == "f" else like


def _array(tensor: Any) -> np.ndarray | None:
    return None if tensor is None else tensor.detach().cpu().numpy()
