"""The arguments of captum's calls: which input, target, baseline and window are meant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxcam.compat.arrays import as_array, as_taken
from onnxcam.compat.explainers import target_of
from onnxcam.errors import MethodError, ModelError, TargetError
from onnxcam.explainer import Explainer
from onnxcam.targets.kinds import TensorElement

__all__ = ["elements_of", "feeds_of", "level_of", "require_count", "require_target", "single", "windows_of"]


def require_count(name: str, value: Any) -> None:
    """Raise MethodError unless *value* is None or a whole number of 1 or more."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1):
        raise MethodError(f"{name} is {value!r}; give a whole number, at least 1")


def require_target(explainer: Explainer, target: Any) -> None:
    """Raise TargetError without a *target*, unless the model has one score for each image."""
    if target is not None:
        return
    outputs = explainer.network.open().model.graph.outputs
    shape = outputs[0].shape
    if len(outputs) == 1 and shape is not None and all(length == 1 for length in list(shape)[1:]):
        return
    raise TargetError(
        'the model has several scores; give target=, such as target=281, or target="top" for the top class'
    )


def elements_of(explainer: Explainer, target: Any) -> Any:
    """Return *target* with captum's tuples, places in the first output behind the axis of images, as targets.

    A tuple of one index is a class.
    """
    if isinstance(target, list):
        return [elements_of(explainer, one) for one in target]
    if not isinstance(target, tuple):
        return target
    if len(target) == 1:
        return target_of(target[0])
    place = tuple(one for one in map(target_of, target) if isinstance(one, int))
    if len(place) != len(target):
        raise TargetError(f"the target {target!r} is no place in the output; give its indices, such as (281,)")
    output = explainer.network.open().model.graph.outputs[0].name or ""
    return TensorElement(output, (0, *place))


def single(inputs: Any) -> Any:
    """Return the tensor to explain; MethodError for several."""
    if not isinstance(inputs, tuple):
        return inputs
    if len(inputs) != 1:
        raise MethodError(
            f"a map explains one input, not {len(inputs)}; give the image as inputs and the others as "
            "additional_forward_args"
        )
    return inputs[0]


def feeds_of(explainer: Explainer, x: Any, others: Any) -> dict[str, Any]:
    """Return the inputs of the model by name: *x*, then *others* in the order of the file."""
    extra = () if others is None else others if isinstance(others, tuple) else (others,)
    names = [value.name or "" for value in explainer.network.others]
    if len(extra) > len(names):
        raise ModelError(f"there are {len(extra)} additional_forward_args, and the model has {len(names)} other inputs")
    image = explainer.network.image
    return {image.name or "": as_taken(x, image), **dict(zip(names, map(as_array, extra), strict=False))}


def level_of(baselines: Any) -> float:
    """Return the one value of *baselines*; MethodError where they have several."""
    values = as_array(single(baselines))
    if values.size == 0 or values.min() != values.max():
        raise MethodError("the baseline has several values; give one number, in the units of the tensor, such as 0")
    return float(values.flat[0])


def windows_of(shape: Sequence[int], axes: tuple[int, tuple[int, ...]], window: Any, strides: Any) -> dict[str, float]:
    """Return window and stride as shares of the space of a batch of *shape*; MethodError where the axes differ.

    *axes* are that of channels and those of space.
    """
    window = _sides(window)
    steps = (
        (strides,) * (len(shape) - 1) if isinstance(strides, int) else window if strides is None else _sides(strides)
    )
    channel, space = axes
    if len(window) != len(shape) - 1 or len(steps) != len(window) or window[channel - 1] < shape[channel]:
        whole = ", ".join(str(shape[axis]) if axis == channel else "side" for axis in range(1, len(shape)))
        raise MethodError(
            f"an occlusion window covers all channels; give sliding_window_shapes=({whole}), not {window}"
        )
    lengths = tuple(shape[axis] for axis in space)
    shares = []
    for name, given in (("window", window), ("stride", steps)):
        sides = tuple(given[axis - 1] for axis in space)
        if len({round(side / length, 6) for side, length in zip(sides, lengths, strict=True)}) != 1:
            raise MethodError(f"the {name} {sides} is no equal share of the sides {lengths}; make it one")
        shares.append(sides[0] / lengths[0])
    return dict(zip(("patch", "stride"), shares, strict=True))


def _sides(given: Any) -> tuple[int, ...]:
    """Return the lengths *given*; none where they are no numbers."""
    flat = isinstance(given, list | tuple) and not any(np.ndim(side) for side in given)
    return tuple(map(int, given)) if flat else ()
