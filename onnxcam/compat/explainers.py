"""What the classes of all peers share: the explainers of one model and method, and classes made from a table."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from onnxcam.compat.callable_model import CallableModel
from onnxcam.errors import LayerError, ModelError, TargetError
from onnxcam.explainer import Explainer
from onnxcam.graph.io import ModelLike
from onnxcam.methods import METHODS
from onnxcam.targets import Target
from onnxcam.targets.registry import TargetKind

__all__ = ["ExplainersOfMethod", "classes_of", "layer_names", "target_of", "targets_of"]


class ExplainersOfMethod:
    """The explainers of *model* by one method, one for each combination of options; each is built when it is used.

    Example:
        >>> ExplainersOfMethod("model.onnx", "gradcam")(layer="layer4").attribute(x, target=[281])
    """

    def __init__(self, model: ModelLike | CallableModel, method: str) -> None:
        self.model: ModelLike = model.source if isinstance(model, CallableModel) else model
        if not isinstance(self.model, str | os.PathLike | bytes | onnx.ModelProto | ir.Model):
            raise ModelError(
                f"the model is given as {type(model).__name__}; give the path of its .onnx file "
                "(`onnxcam export` writes one of PyTorch and Keras models)"
            )
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
    """Return a class index of any integer type, words or a kind of target as a target; TargetError for a function."""
    if given is None or isinstance(given, str | TargetKind):
        return given
    if callable(given):
        raise TargetError(
            f"the target {getattr(given, '__name__', type(given).__name__)} is a function, which a "
            "file cannot differentiate; give a class index, ClassifierOutputTarget(281) or words (docs/targets.md)"
        )
    array = np.asarray(given)
    if array.dtype.kind not in "iu" or array.size != 1:
        raise TargetError(f"the target {given!r} is no class index; give a whole number for each image")
    return int(array.reshape(()))


def targets_of(given: Any, count: int) -> list[Target]:
    """Return *count* targets: *given* is one for all, or a list or vector of them; else TargetError."""
    if not isinstance(given, list) and len(getattr(given, "shape", ())) != 1:
        return [target_of(given)] * count
    listed = [target_of(one) for one in given]
    if len(listed) != count:
        raise TargetError(f"there are {len(listed)} targets for {count} images; give one for each, or one for all")
    return listed
