"""What the classes of all peers share: the explainers of one model and method, and classes made from a table."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from onnxcam.compat.callable_model import CallableModel
from onnxcam.errors import LayerError, MethodError, ModelError, TargetError
from onnxcam.explainer import Explainer
from onnxcam.graph.io import ModelLike
from onnxcam.methods import METHODS
from onnxcam.targets import Target
from onnxcam.targets.registry import TargetKind

__all__ = ["ExplainersOfMethod", "arguments_of", "axes_of", "classes_of", "layer_names", "target_of", "targets_of"]


class ExplainersOfMethod:
    """The explainers of *model* by one method, one for each combination of options; each is built when it is used.

    Example:
        >>> ExplainersOfMethod("model.onnx", "gradcam")(layer="layer4").attribute(x, target=[281])
    """

    def __init__(self, model: ModelLike | CallableModel | None, method: str) -> None:
        source = model.source if isinstance(model, CallableModel) else model
        if not isinstance(source, str | os.PathLike | bytes | onnx.ModelProto | ir.Model):
            raise ModelError(
                f"the model is given as {type(source).__name__}; give the path of its .onnx file "
                "(`onnxcam export` writes one of PyTorch and Keras models)"
            )
        self.model: ModelLike = source
        self.method = METHODS[method]
        self._built: dict[str, Explainer] = {}

    def having(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of *settings* that the method has."""
        return {name: value for name, value in settings.items() if name in self.method.settings}

    def __call__(
        self, layer: str | None = None, settings: Mapping[str, Any] | None = None, **options: Any
    ) -> Explainer:
        """Return the explainer with these arguments; a *layer* only where the method has one."""
        arguments = {"layer": layer if self.method.uses_layer else None, "settings": dict(settings or {}), **options}
        key = repr(sorted(arguments.items()))
        if key not in self._built:
            self._built[key] = Explainer(self.model, method=self.method.id, **arguments)
        return self._built[key]


def classes_of(
    table: Mapping[str, str], base: type, module: str, **attributes: Mapping[str, Any]
) -> Callable[[str], Any]:
    """Return a module's ``__getattr__`` that makes subclasses of *base*: *table* has their names and methods.

    *attributes* are other attributes of the classes, by name, and by the class's name.
    """
    made: dict[str, type] = {}

    def __getattr__(name: str) -> Any:
        if name not in table:
            raise AttributeError(f"{module} has no {name}; it has {', '.join(table)} (docs/coming-from.md)")
        if name not in made:
            doc = f"`{table[name]}` of onnxcam: {METHODS[table[name]].summary}\n\n{base.__doc__}"
            own = {attribute: values[name] for attribute, values in attributes.items()}
            made[name] = type(name, (base,), {"method": table[name], "__doc__": doc, "__module__": module, **own})
        return made[name]

    return __getattr__


def arguments_of(
    kind: str, parameters: Sequence[str], arguments: Sequence[Any], named: Mapping[str, Any], first: str
) -> dict[str, Any]:
    """Return the *arguments* of *kind* by name: *parameters* has their order, behind *first*.

    MethodError for an argument that there is not, or that is given twice.
    """
    unknown = next((name for name in named if name not in parameters), None)
    if unknown is not None or len(arguments) > len(parameters):
        what = f"no argument {unknown!r}" if unknown else f"at most {len(parameters) + 1} arguments"
        raise MethodError(f"{kind} has {what}; it takes {', '.join((first, *parameters))}")
    twice = next((name for name in parameters[: len(arguments)] if name in named), None)
    if twice is not None:
        raise MethodError(f"{kind} gets {twice!r} twice, by place and by name; give it once")
    return {**dict(zip(parameters, arguments, strict=False)), **named}


def axes_of(explainer: Explainer, rank: int) -> tuple[int, tuple[int, ...]]:
    """Return the axis of channels and those of space of a tensor that *explainer* takes, of *rank* axes."""
    layout = explainer.network.layout
    return (1, tuple(range(2, rank))) if layout is None else (layout.channel, layout.space)


def layer_names(given: Any) -> list[str | None]:
    """Return the names of layers, given as a name or a list of names; [None] for a layer that onnxcam chooses."""
    listed = list(given) if isinstance(given, list | tuple) else [given]
    for one in listed:
        if one is not None and not isinstance(one, str):
            raise LayerError(
                f"a layer is given as {type(one).__name__}, and an .onnx file has no modules; "
                "give its name, such as 'layer4' (`onnxcam inspect` lists them)"
            )
    return listed or [None]


def target_of(given: Any) -> Target:
    """Return a class index of any integer type, words or a kind of target as a target.

    TargetError for anything else, such as a function, a bool or a fraction.
    """
    if given is None or isinstance(given, str | TargetKind):
        return given
    if callable(given):
        raise TargetError(
            f"the target {getattr(given, '__name__', type(given).__name__)} is a function, which a "
            "file cannot differentiate; give a class index, ClassifierOutputTarget(281) or words (docs/targets.md)"
        )
    array = np.asarray(given)
    if array.dtype.kind not in "iu" or array.size != 1:
        raise TargetError(f"the target {given!r} is no class index; give a whole number, such as 281, for each image")
    return int(array.reshape(()))


def targets_of(given: Any, count: int) -> list[Target]:
    """Return *count* targets: *given* is one for all, or a list or vector of them; else TargetError."""
    shape: Sequence[int] = getattr(given, "shape", ())
    if not isinstance(given, list | tuple) and (len(shape) != 1 or shape[0] == 1):
        return [target_of(given)] * count
    listed = [target_of(one) for one in given]
    if len(listed) != count:
        raise TargetError(f"there are {len(listed)} targets for {count} images; give one for each, or one for all")
    return listed
