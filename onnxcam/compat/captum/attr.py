"""The attributions of captum for ``.onnx`` files: `NAMES` gives each the id of onnxcam's method.

::

    from onnxcam.compat.captum.attr import IntegratedGradients

    attribution = IntegratedGradients("model.onnx").attribute(x, target=281, n_steps=50)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from onnxcam.compat.arrays import as_array, as_batch, as_given, as_taken
from onnxcam.compat.callable_model import CallableModel
from onnxcam.compat.captum.arguments import (
    elements_of,
    feeds_of,
    level_of,
    require_count,
    require_target,
    single,
    windows_of,
)
from onnxcam.compat.explainers import (
    ExplainersOfMethod,
    arguments_of,
    axes_of,
    classes_of,
    layer_names,
    targets_of,
)
from onnxcam.errors import MethodError
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
    "GradientShap": ("baselines", "n_samples", "stdevs", *_REST, _DELTA),
    "DeepLift": ("baselines", *_REST, _DELTA, "custom_attribution_func"),
    "GuidedBackprop": _REST,
    "Deconvolution": _REST,
    "LayerGradCam": (
        *_REST,
        "attribute_to_layer_input",
        "relu_attributions",
        "attr_dim_summation",
        "grad_kwargs",
    ),
    "LRP": (*_REST, _DELTA, "verbose"),
    "Occlusion": ("sliding_window_shapes", "strides", "baselines", *_REST, "perturbations_per_eval", "show_progress"),
}
"""The arguments of each class after the inputs, in captum's order."""
_FIXED = {
    "method": "riemann_middle",
    "stdevs": 0.0,
    "attribute_to_layer_input": False,
    "attr_dim_summation": True,
    "grad_kwargs": None,
    "custom_attribution_func": None,
    "show_progress": False,
    "verbose": False,
    "multiply_by_inputs": True,
}
"""Arguments of captum that have one value in onnxcam."""
_NO_DELTA = ("GradientShap", "LRP")
"""Classes that have no convergence delta here."""

__all__ = ["NAMES", "AttributionOfFile", "GuidedGradCam", "LayerAttribution", "NoiseTunnel", *NAMES]


class AttributionOfFile:
    """An attribution with captum's call.

    Args:
        model: The file of the model, or a `CallableModel`; *forward_func* is captum's name of it in some classes.
        layer: The name of the layer, of classes that have one; None chooses one.
        device_ids, eps: Not used.
        multiply_by_inputs: True; MethodError for False.
    """

    method: ClassVar[str]
    parameters: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        model: ModelLike | CallableModel | None = None,
        layer: str | None = None,
        device_ids: Any = None,
        *,
        forward_func: ModelLike | CallableModel | None = None,
        multiply_by_inputs: bool = True,
        eps: Any = None,
    ) -> None:
        (self.layer,) = layer_names(layer)
        self._refuse({"multiply_by_inputs": multiply_by_inputs})
        self._explainers = ExplainersOfMethod(model or forward_func, self.method)

    def attribute(self, inputs: Any, *arguments: Any, **named: Any) -> Any:
        """Return the attribution, of the kind and the shape of *inputs*; LayerGradCam's is [N, 1, h, w].

        The arguments are captum's, in its order: `parameters`. *baselines* is a number, or a tensor of one value, of
        GradientShap tensors [B, …]. *target* is an index, a place such as (c, y, x) in the output, or words such as
        ``"top"``; models with one score need none. Other inputs of the model are *additional_forward_args*. With
        *return_convergence_delta* there is also Σ attribution − (y(x) − y(baseline)). A tuple of one tensor gives a
        tuple. Raises as `onnxcam.Explainer.attribute`; MethodError for arguments that have no counterpart.
        """
        said = self._said(arguments, named)
        x = as_batch(single(inputs))
        signed = {"signed": True} if self.method == "gradcam" and not said.get("relu_attributions") else {}
        settings = self._settings(x, said)
        explainer = self._explainers(self.layer, self._explainers.having(settings), **signed)
        require_target(explainer, said.get("target"))
        targets = targets_of(elements_of(explainer, said.get("target")), len(x))
        feeds = feeds_of(explainer, x, said.get("additional_forward_args"))
        found = explainer.attribute(feeds, targets)
        given = as_given(self._as_captum(found, x, explainer, said.get("abs", True)), single(inputs))
        given = (given,) if isinstance(inputs, tuple) and self.method != "gradcam" else given
        if not said.get(_DELTA):
            return given
        image = explainer.network.image
        start = {**feeds, image.name or "": as_taken(np.full_like(x, settings.get("baseline", 0)), image)}
        change = explainer.scores(feeds, targets) - explainer.scores(start, targets)
        return given, as_given(found.reshape(len(x), -1).sum(1) - change.astype(np.float32), single(inputs))

    def explainer(self) -> Explainer:
        """Return the explainer of the class."""
        return self._explainers(self.layer)

    def _said(self, arguments: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments by name; MethodError for one that the class does not have, or with another value."""
        name = type(self).__name__
        said = arguments_of(name, self.parameters, arguments, named, "inputs")
        self._refuse(said)
        if said.get(_DELTA) and name in _NO_DELTA:
            raise MethodError(f"{name} has no {_DELTA} here; leave it out")
        for count in ("n_steps", "n_samples", "perturbations_per_eval", "internal_batch_size"):
            require_count(count, said.get(count))
        return said

    def _refuse(self, said: Mapping[str, Any]) -> None:
        """Raise MethodError for an argument of *said* that has another value than onnxcam's only one."""
        for name, value in _FIXED.items():
            if said.get(name, value) != value:
                raise MethodError(f"{type(self).__name__} has {name}={value!r} only, not {said[name]!r}; leave it out")

    def _settings(self, x: Any, said: Mapping[str, Any]) -> dict[str, Any]:
        """Return the method's settings that *said* gives for the inputs *x*."""
        settings: dict[str, Any] = {"steps": said.get("n_steps", 50), "samples": said.get("n_samples", 5)}
        settings["batch_size"] = max(said.get("perturbations_per_eval", 1), said.get("internal_batch_size") or 8)
        baselines = said.get("baselines")
        if self.method == "expected-gradients":
            if baselines is None:
                raise MethodError("GradientShap needs baselines; give tensors [B, …], such as zeros")
            settings["baselines"] = as_array(single(baselines))
        elif baselines is not None:
            settings["baseline"] = level_of(baselines)
        if "sliding_window_shapes" in self.parameters:
            settings |= windows_of(
                x.shape, axes_of(self._explainers(), x.ndim), said.get("sliding_window_shapes"), said.get("strides")
            )
        return settings

    def _as_captum(self, found: Any, x: Any, explainer: Explainer, abs: bool) -> Any:
        """Return a map in captum's shape, and of Saliency without signs if *abs*."""
        if self.method == "gradient" and abs:
            return np.abs(found)
        if found.ndim == x.ndim:
            return found
        if self.method == "gradcam":
            return found[:, None]
        return np.broadcast_to(np.expand_dims(found, axes_of(explainer, x.ndim)[0]), x.shape).copy()


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

    def __init__(self, model: ModelLike | CallableModel, layer: str | None = None, device_ids: Any = None) -> None:
        self._fine, self._coarse = __getattr__("GuidedBackprop")(model), __getattr__("LayerGradCam")(model, layer)

    def attribute(
        self,
        inputs: Any,
        target: Any = None,
        additional_forward_args: Any = None,
        interpolate_mode: str = "nearest",
        attribute_to_layer_input: bool = False,
    ) -> Any:
        """Return the attribution, of the kind and the shape of *inputs*. Raises as `AttributionOfFile.attribute`."""
        coarse = self._coarse.attribute(
            inputs, target, additional_forward_args, attribute_to_layer_input, relu_attributions=True
        )
        fine = self._fine.attribute(inputs, target, additional_forward_args)
        one = single(fine)
        channel, space = axes_of(self._fine.explainer(), one.ndim)
        large = LayerAttribution.interpolate(as_array(coarse), [one.shape[axis] for axis in space], interpolate_mode)
        found = one * as_given(np.moveaxis(large, 1, channel), one)
        return (found,) if isinstance(fine, tuple) else found


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
        stdevs: float | tuple[float] = 1.0,
        draw_baseline_from_distrib: bool = False,
        **arguments: Any,
    ) -> Any:
        """Return the moment *nt_type* over *nt_samples* inputs with normal noise of the deviation *stdevs*.

        It is ``"smoothgrad"``, the mean, ``"smoothgrad_sq"``, the mean square, or ``"vargrad"``, the variance.
        *nt_samples_batch_size* is not used: one is made after the other. *arguments* are those of the other
        attribution; with *return_convergence_delta* there is also the delta of each noisy input, [N · nt_samples].
        MethodError for another moment, and for *draw_baseline_from_distrib*.
        """
        moments = {"smoothgrad": _mean, "smoothgrad_sq": _mean_square, "vargrad": _variance}
        if nt_type not in moments:
            raise MethodError(f"no nt_type is called {nt_type!r}; there are {', '.join(moments)}")
        require_count("nt_samples", nt_samples)
        if draw_baseline_from_distrib:
            raise MethodError("a NoiseTunnel has draw_baseline_from_distrib=False only; leave it out")
        if not hasattr(self.attribution_method, "attribute"):
            raise MethodError("a NoiseTunnel averages samples of an attribution; give one, such as Saliency(model)")
        deviation = as_array(stdevs)
        if deviation.size != 1 or not deviation.min() >= 0:
            raise MethodError(f"stdevs is {stdevs!r}; give the deviation of the noise, one number of 0 or more")
        x, rng = as_batch(single(inputs)), np.random.default_rng(self.seed)
        scale = np.float32(deviation.reshape(()))
        noisy = (x + scale * rng.standard_normal(x.shape, np.float32) for _ in range(nt_samples))
        found = [self.attribution_method.attribute(one, **arguments) for one in noisy]
        maps = np.stack([one[0] if isinstance(one, tuple) else one for one in found])
        moment = as_given(moments[nt_type](maps), single(inputs))
        given = (moment,) if isinstance(inputs, tuple) else moment
        if not arguments.get(_DELTA):
            return given
        return given, as_given(np.stack([delta for _, delta in found], 1).reshape(-1), single(inputs))


def _mean(found: Any) -> Any:
    return found.mean(0)


def _mean_square(found: Any) -> Any:
    return (found**2).mean(0)


def _variance(found: Any) -> Any:
    return found.var(0)


__getattr__ = classes_of(NAMES, AttributionOfFile, __name__, parameters=_PARAMETERS)
