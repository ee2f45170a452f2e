"""The attributions of captum for ``.onnx`` files: `NAMES` gives each the id of onnxcam's method.

::

    from onnxcam.compat.captum.attr import IntegratedGradients

    attribution = IntegratedGradients("model.onnx").attribute(x, target=281, n_steps=50)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from onnxcam.compat.arrays import as_array, as_batch, as_given
from onnxcam.compat.callable_model import CallableModel
from onnxcam.compat.explainers import ExplainersOfMethod, classes_of, layer_names, targets_of
from onnxcam.errors import MethodError, ModelError
from onnxcam.explainer import Explainer
from onnxcam.graph.io import ModelLike
from onnxcam.media.resample import resized

NAMES = {
    "Saliency": "gradient",
    "InputXGradient": "gradient-x-input",
    "IntegratedGradients": "integrated-gradients",
    "GradientShap": "expected-gradients",
    "DeepLift": "deeplift",
    "GuidedBackprop": "guided-backprop",
    "Deconvolution": "deconvnet",
    "LayerGradCam": "gradcam",
    "LRP": "lrp-epsilon",
    "Occlusion": "occlusion",
}
"""The method of each class."""

_REST, _DELTA = ("target", "additional_forward_args"), "return_convergence_delta"
_PARAMETERS = {
    "Saliency": ("target", "abs", "additional_forward_args"),
    "InputXGradient": _REST,
    "IntegratedGradients": ("baselines", *_REST, "n_steps", "method", "internal_batch_size", _DELTA),
    "GradientShap": ("baselines", "n_samples", "stdevs", *_REST),
    "DeepLift": ("baselines", *_REST, _DELTA),
    "GuidedBackprop": _REST,
    "Deconvolution": _REST,
    "LayerGradCam": (*_REST, "attribute_to_layer_input", "relu_attributions"),
    "LRP": _REST,
    "Occlusion": ("sliding_window_shapes", "strides", "baselines", *_REST, "perturbations_per_eval", "show_progress"),
}
"""The arguments of each class after the inputs, in captum's order."""
_FIXED = {"method": "riemann_middle", "stdevs": 0.0, "attribute_to_layer_input": False, "show_progress": False}
"""Arguments of captum that have one value in onnxcam."""

__all__ = ["NAMES", "AttributionOfFile", "GuidedGradCam", "LayerAttribution", "NoiseTunnel", *NAMES]


class AttributionOfFile:
    """An attribution with captum's call.

    Args:
        model: The file of the model, or a `CallableModel`.
        layer: The name of the layer, of classes that have one; None chooses one.
    """

    method: ClassVar[str]
    parameters: ClassVar[tuple[str, ...]]

    def __init__(self, model: ModelLike | CallableModel, layer: str | None = None) -> None:
        (self.layer,) = layer_names(layer)
        self._explainers = ExplainersOfMethod(model, self.method)

    def attribute(self, inputs: Any, *arguments: Any, **named: Any) -> Any:
        """Return the attribution, of the kind and the shape of *inputs*; LayerGradCam's is [N, 1, h, w].

        The arguments are captum's, in its order: `parameters`. *baselines* is a number, or a tensor of one value, of
        GradientShap tensors [B, …]; None as *target* is the model's top class; other inputs of the model are
        *additional_forward_args*. With *return_convergence_delta* there is also Σ attribution − (y(x) − y(baseline)).
        Raises as `onnxcam.Explainer.attribute`; MethodError for arguments that have no counterpart.
        """
        said = self._said(arguments, named)
        x = as_batch(_single(inputs))
        settings = self._settings(x, said)
        signed = {"signed": True} if self.method == "gradcam" and not said.get("relu_attributions") else {}
        explainer = self._explainers(self.layer, self._explainers.having(settings), **signed)
        targets = targets_of(said.get("target"), len(x))
        feeds = _feeds(explainer, x, said.get("additional_forward_args"))
        found = explainer.attribute(feeds, targets)
        given = as_given(self._as_captum(found, x, said.get("abs", True)), _single(inputs))
        if not said.get(_DELTA):
            return given
        start = {**feeds, explainer.network.image.name or "": np.full_like(x, settings.get("baseline", 0))}
        change = explainer.scores(feeds, targets) - explainer.scores(start, targets)
        return given, as_given(found.reshape(len(x), -1).sum(1) - change.astype(np.float32), _single(inputs))

    def _said(self, arguments: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments by name; MethodError for one that the class does not have, or with another value."""
        said = {**dict(zip(self.parameters, arguments, strict=False)), **named}
        unknown = next((name for name in said if name not in self.parameters), None)
        if unknown is not None or len(arguments) > len(self.parameters):
            what = f"no argument {unknown!r}" if unknown else f"{len(self.parameters) + 1} arguments"
            raise MethodError(f"{type(self).__name__} has {what}; it takes inputs, {', '.join(self.parameters)}")
        twice = next((name for name in self.parameters[: len(arguments)] if name in named), None)
        if twice is not None:
            raise MethodError(f"{type(self).__name__} gets {twice!r} twice, by place and by name; give it once")
        for name, value in _FIXED.items():
            if said.get(name, value) != value:
                raise MethodError(f"{type(self).__name__} has {name}={value!r} only, not {said[name]!r}; leave it out")
        return said

    def _settings(self, x: Any, said: Mapping[str, Any]) -> dict[str, Any]:
        """Return the method's settings that *said* gives for the inputs *x*."""
        settings: dict[str, Any] = {"steps": said.get("n_steps", 50), "samples": said.get("n_samples", 5)}
        settings["batch_size"] = max(said.get("perturbations_per_eval", 1), said.get("internal_batch_size") or 8)
        baselines = said.get("baselines")
        if self.method == "expected-gradients":
            if baselines is None:
                raise MethodError("GradientShap needs baselines; give tensors [B, …], such as zeros")
            settings["baselines"] = as_array(_single(baselines))
        elif baselines is not None:
            settings["baseline"] = _level(baselines)
        if "sliding_window_shapes" in self.parameters:
            settings |= _windows(x.shape[1:], said.get("sliding_window_shapes"), said.get("strides"))
        return settings

    def _as_captum(self, found: Any, x: Any, abs: bool) -> Any:
        """Return a map in captum's shape, and of Saliency without signs if *abs*."""
        if self.method == "gradient" and abs:
            return np.abs(found)
        if found.ndim == x.ndim:
            return found
        return found[:, None] if self.method == "gradcam" else np.broadcast_to(found[:, None], x.shape).copy()


class LayerAttribution:
    """captum's way to enlarge the maps of layers."""

    @staticmethod
    def interpolate(layer_attribution: Any, interpolate_dims: Any, interpolate_mode: str = "nearest") -> Any:
        """Return maps [N, C, *space] at the size *interpolate_dims*; MethodError for a size or mode that does not fit.

        Modes are ``"nearest"``, and ``"bilinear"`` for linear interpolation on every axis.
        """
        maps = as_array(layer_attribution)
        size = (interpolate_dims,) * (maps.ndim - 2) if isinstance(interpolate_dims, int) else tuple(interpolate_dims)
        if len(size) != maps.ndim - 2:
            raise MethodError(
                f"the size {size} does not fit maps of shape {maps.shape}; give a side for each axis of space"
            )
        if interpolate_mode == "nearest":
            places = [np.arange(new) * old // new for old, new in zip(maps.shape[2:], size, strict=True)]
            return as_given(maps[(..., *np.ix_(*places))], layer_attribution)
        if interpolate_mode != "bilinear":
            raise MethodError(f"no interpolate_mode is called {interpolate_mode!r}; there are nearest and bilinear")
        each = [resized(one, size) for one in maps.reshape(-1, *maps.shape[2:])]
        return as_given(np.reshape(each, (*maps.shape[:2], *size)), layer_attribution)


class GuidedGradCam:
    """Guided backpropagation times the rectified Grad-CAM of *layer*, with captum's call.

    onnxcam's own ``guided-gradcam`` enlarges the Grad-CAM linearly.
    """

    def __init__(self, model: ModelLike | CallableModel, layer: str | None = None) -> None:
        self._fine, self._coarse = __getattr__("GuidedBackprop")(model), __getattr__("LayerGradCam")(model, layer)

    def attribute(
        self, inputs: Any, target: Any = None, additional_forward_args: Any = None, interpolate_mode: str = "nearest"
    ) -> Any:
        """Return the attribution, of the kind and the shape of *inputs*. Raises as `AttributionOfFile.attribute`."""
        coarse = self._coarse.attribute(inputs, target, additional_forward_args, relu_attributions=True)
        size = as_array(_single(inputs)).shape[2:]
        fine = self._fine.attribute(inputs, target, additional_forward_args)
        return fine * LayerAttribution.interpolate(coarse, size, interpolate_mode)


class NoiseTunnel:
    """The mean, mean square or variance of another attribution over noisy inputs, with captum's call.

    Example:
        >>> NoiseTunnel(Saliency("model.onnx")).attribute(x, nt_samples=10, stdevs=0.2, target=281)
    """

    def __init__(self, attribution_method: AttributionOfFile, seed: int = 0) -> None:
        self.attribution_method, self.seed = attribution_method, seed

    def attribute(
        self,
        inputs: Any,
        nt_type: str = "smoothgrad",
        nt_samples: int = 5,
        nt_samples_batch_size: int | None = None,
        stdevs: float = 1.0,
        **arguments: Any,
    ) -> Any:
        """Return the moment *nt_type* over *nt_samples* inputs with normal noise of the deviation *stdevs*.

        It is ``"smoothgrad"``, the mean, ``"smoothgrad_sq"``, the mean square, or ``"vargrad"``, the variance.
        *nt_samples_batch_size* is not used: one is made after the other. *arguments* are those of the other
        attribution. MethodError for another moment.
        """
        moments = {"smoothgrad": _mean, "smoothgrad_sq": _mean_square, "vargrad": _variance}
        if nt_type not in moments:
            raise MethodError(f"no nt_type is called {nt_type!r}; there are {', '.join(moments)}")
        if nt_samples < 1 or not hasattr(self.attribution_method, "attribute"):
            raise MethodError("a NoiseTunnel averages at least 1 sample of an attribution, such as Saliency(model)")
        x, rng = as_batch(_single(inputs)), np.random.default_rng(self.seed)
        noisy = (x + np.float32(stdevs) * rng.standard_normal(x.shape, np.float32) for _ in range(nt_samples))
        found = np.stack([self.attribution_method.attribute(one, **arguments) for one in noisy])
        return as_given(moments[nt_type](found), _single(inputs))


def _mean(found: Any) -> Any:
    return found.mean(0)


def _mean_square(found: Any) -> Any:
    return (found**2).mean(0)


def _variance(found: Any) -> Any:
    return found.var(0)


def _single(inputs: Any) -> Any:
    """Return the tensor to explain; MethodError for several."""
    if not isinstance(inputs, tuple):
        return inputs
    if len(inputs) != 1:
        raise MethodError(
            f"a map explains one input, not {len(inputs)}; give the image as inputs and the others as "
            "additional_forward_args"
        )
    return inputs[0]


def _feeds(explainer: Explainer, x: Any, others: Any) -> dict[str, Any]:
    """Return the inputs of the model by name: *x*, then *others* in the order of the file."""
    extra = () if others is None else others if isinstance(others, tuple) else (others,)
    names = [value.name or "" for value in explainer.network.others]
    if len(extra) > len(names):
        raise ModelError(f"there are {len(extra)} additional_forward_args, and the model has {len(names)} other inputs")
    return {explainer.network.image.name or "": x, **dict(zip(names, map(as_array, extra), strict=False))}


def _level(baselines: Any) -> float:
    """Return the one value of *baselines*; MethodError where they have several."""
    values = as_array(_single(baselines))
    if values.size == 0 or values.min() != values.max():
        raise MethodError("the baseline has several values; give one number, in the units of the tensor, such as 0")
    return float(values.flat[0])


def _windows(shape: Sequence[int], window: Any, strides: Any) -> dict[str, float]:
    """Return window and stride as shares of the space of *shape* [C, *space]; MethodError where the axes differ."""
    window = () if window is None or any(np.ndim(side) for side in window) else tuple(window)
    steps = (strides,) * len(shape) if isinstance(strides, int) else window if strides is None else tuple(strides)
    if len(window) != len(shape) or len(steps) != len(shape) or window[0] < shape[0]:
        raise MethodError(
            f"an occlusion window covers all channels; give sliding_window_shapes=({shape[0]}, and the sides), "
            f"not {window}"
        )
    for name, sides in (("window", window[1:]), ("stride", steps[1:])):
        if len({round(side / length, 6) for side, length in zip(sides, shape[1:], strict=True)}) != 1:
            raise MethodError(f"the {name} {sides} is no equal share of the sides {tuple(shape[1:])}; make it one")
    return {"patch": window[1] / shape[1], "stride": steps[1] / shape[1]}


__getattr__ = classes_of(NAMES, AttributionOfFile, __name__, parameters=_PARAMETERS)
