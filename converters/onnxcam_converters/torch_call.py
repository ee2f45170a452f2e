"""Call a PyTorch module: arguments, results, hooks. Afterwards the user's module is unchanged."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from onnxcam.errors import ConversionError, nearest

__all__ = ["ModuleCall", "device_of", "evaluating", "example_of", "frozen", "hooked", "outputs_of", "parse_example"]


@dataclass
class ModuleCall:
    """Arguments of a module call. Their tensors, in order, are the inputs of the file.

    Attributes:
        args: Positional arguments.
        kwargs: Keyword arguments.
        names: Name of each tensor.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    names: list[str]

    @classmethod
    def of(cls, module: Any, example: Any, names: Sequence[str] | None = None) -> ModuleCall:
        """Return the call for an *example*: a tensor, a tuple of tensors, or a dict.

        Keys that are parameters of ``forward`` become keyword arguments; others name positional arguments.
        ConversionError if *names* has another length than the tensors.
        """
        import torch
        from torch.utils import _pytree as tree

        if isinstance(example, torch.Tensor):
            example = (example,)
        called = dict(example) if isinstance(example, Mapping) else dict(enumerate(example))
        parameters = _parameters(module)
        kwargs = {name: value for name, value in called.items() if name in parameters}
        args = tuple(value for name, value in called.items() if name not in parameters)
        given = [str(name) for name in called if name not in parameters and isinstance(name, str)]
        found = [parameters[i] if i < len(parameters) else f"input_{i}" for i in range(len(args))]
        if len(given) == len(args):
            found = given
        leaves = []
        for name, value in zip([*found, *kwargs], [*args, *kwargs.values()], strict=True):
            count = len(tree.tree_leaves(value))
            leaves += [name] if count == 1 else [f"{name}_{i}" for i in range(count)]
        if names is not None and len(names) != len(leaves):
            raise ConversionError(f"{len(names)} input names for {len(leaves)} inputs ({', '.join(leaves)}); name each")
        return cls(args, kwargs, list(names or leaves))

    @property
    def tensors(self) -> list[Any]:
        """Return the tensors among the arguments."""
        from torch.utils import _pytree as tree

        return tree.tree_leaves((self.args, self.kwargs))

    def with_tensors(self, tensors: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with other tensors in them."""
        from torch.utils import _pytree as tree

        args, kwargs = tree.tree_unflatten(list(tensors), tree.tree_structure((self.args, self.kwargs)))
        return args, kwargs


def _parameters(module: Any) -> list[str]:
    """Return the names of the parameters of the module's ``forward``, empty if unknown."""
    schema = getattr(getattr(module, "forward", None), "schema", None)  # of TorchScript
    if schema is not None:
        return [argument.name for argument in schema.arguments[1:]]
    try:
        signature = inspect.signature(module.forward)
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, parameter in signature.parameters.items() if parameter.kind in kinds]


@contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Put every submodule into evaluation mode, and restore its mode afterwards."""
    before = [(part, part.training) for part in module.modules()]
    try:
        with suppress(NotImplementedError):  # the mode of an ExportedProgram is fixed
            module.eval()
        yield
    finally:
        for part, training in before:
            part.training = training


@contextmanager
def frozen(module: Any) -> Iterator[None]:
    """Switch gradients of the weights off, to save memory."""
    learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        for parameter in learned:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)


def device_of(module: Any) -> Any:
    """Return the device of the module's weights."""
    import torch

    return next((each.device for each in [*module.parameters(), *module.buffers()]), torch.device("cpu"))


def outputs_of(result: Any, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the tensors in a module's *result* by name: the keys of a dict, else ``output``, ``output_1``, ….

    *names* selects from a dict; for other results it gives the names. ConversionError if it does not fit.
    """
    import torch
    from torch.utils import _pytree as tree

    pairs = [(path, leaf) for path, leaf in tree.tree_flatten_with_path(result)[0] if isinstance(leaf, torch.Tensor)]
    keys = [str(path[-1].key) if path and isinstance(path[-1], tree.MappingKey) else "" for path, _ in pairs]
    own = [key or (f"output_{i}" if i else "output") for i, key in enumerate(keys)]
    found = {name: leaf for name, (_, leaf) in zip(own, pairs, strict=True)}
    if names is None or set(names) <= found.keys():
        return {name: found[name] for name in names or found}
    if any(keys):
        unknown = next(name for name in names if name not in found)
        raise ConversionError(
            f"the model has no output {unknown!r}; there are {', '.join(own)}.{nearest(unknown, own)}"
        )
    if len(set(names)) != len(pairs):
        raise ConversionError(
            f"{len(names)} output names ({', '.join(names)}) for {len(pairs)} outputs; name each once"
        )
    return {name: leaf for name, (_, leaf) in zip(names, pairs, strict=True)}


@contextmanager
def hooked(module: Any, layers: Sequence[str], keep: dict[str, Any]) -> Iterator[None]:
    """Store the output of each of *layers* in *keep*; of several calls of a layer the last counts.

    The next layer gets a copy, as it may change its input in place.
    """
    import torch

    parts = dict(module.named_modules())

    def watch(name: str) -> Any:
        def hook(_part: Any, _inputs: Any, output: Any) -> Any:
            if not hasattr(output, "clone"):  # several tensors: take the first
                first = next(iter(output.values() if isinstance(output, Mapping) else output), None)
                keep[name] = first
                return None
            if torch.is_grad_enabled() and output.is_floating_point() and not output.requires_grad:
                output = output.detach().requires_grad_()  # no earlier tensor requires a gradient
            keep[name] = output
            return output.clone()

        return hook

    handles = [parts[name].register_forward_hook(watch(name)) for name in layers if name in parts]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def example_of(model: Any) -> Any:
    """Return the example inputs of an ExportedProgram, None for other models."""
    found = getattr(model, "example_inputs", None)
    if found is None:
        return None
    args, kwargs = found
    return {**dict(enumerate(args)), **kwargs}


def parse_example(specs: Sequence[str]) -> dict[Any, Any]:
    """Return a tensor of zeros for each ``[name=]1x3x224x224[:dtype]``."""
    import torch

    found: dict[Any, Any] = {}
    for number, spec in enumerate(specs):
        match = re.fullmatch(r"(?:([^=]+)=)?(\d+(?:x\d+)*)?(?::(\w+))?", spec)
        dtype = getattr(torch, match[3] or "float32", None) if match else None
        if match is None or not isinstance(dtype, torch.dtype):
            raise ConversionError(f"input {spec!r} does not parse; write [name=]1x3x224x224[:float32]")
        shape = [int(length) for length in (match[2] or "").split("x") if length]
        found[match[1] or number] = torch.zeros(shape, dtype=dtype)
    return found
