"""pytorch-grad-cam's call of a CAM, and its way to scale and join maps."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from onnxcam.compat.arrays import as_batch, as_taken
from onnxcam.compat.callable_model import CallableModel
from onnxcam.compat.explainers import ExplainersOfMethod, axes_of, layer_names, targets_of
from onnxcam.errors import MethodError, ModelError
from onnxcam.explainer import Explainer
from onnxcam.graph.io import ModelLike
from onnxcam.media.resample import resized
from onnxcam.methods.augment import FACTORS
from onnxcam.methods.base import BATCH_SIZE

__all__ = ["BaseCAM", "GuidedBackpropReLUModel", "RefineCAM", "scale_cam_image"]


class BaseCAM:
    """A CAM with pytorch-grad-cam's call, in a ``with`` block or without.

    Args:
        model: The file of the model, or a `CallableModel`.
        target_layers: The names of layers; their maps are scaled to [0, 1] and averaged. None chooses one.
        reshape_transform: Not needed, as the graph tells how tokens lie in the image; a function gives a warning.
        base_method: The class on which FinerCAM and RefineCAM build.
        batch_size: The samples in a run, of methods of many passes.
    """

    method: ClassVar[str]
    settings: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self,
        model: ModelLike | CallableModel,
        target_layers: Sequence[str] | str | None = None,
        reshape_transform: Callable[..., Any] | None = None,
        base_method: type[BaseCAM] | None = None,
        batch_size: int = 32,
    ) -> None:
        if reshape_transform is not None:
            warnings.warn("reshape_transform is not used: the graph tells how tokens lie in the image", stacklevel=2)
        self.target_layers, self.batch_size = layer_names(target_layers), batch_size
        self._explainers = ExplainersOfMethod(model, self.method)
        self._inputs: Any = None
        self._outputs: Any = None
        self._settings = dict(self.settings)
        if base_method is not None:
            self._settings["base"] = base_method.method

    def __call__(
        self,
        input_tensor: Any,
        targets: Any = None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
        **settings: Any,
    ) -> NDArray[np.float32]:
        """Return the maps float32 [N, H, W] in [0, 1], at the size of *input_tensor*; volumes alike.

        *input_tensor* is what the file takes, [N, C, H, W] or [N, H, W, C].

        *targets* has one for each image; None is the model's top class. *aug_smooth* averages over mirrored, darker
        and brighter inputs; *eigen_smooth* takes the principal component, of methods that sum channels. *settings* are
        those of the method, such as ``alpha=0.6`` of FinerCAM. Raises as `onnxcam.Explainer.attribute`.
        """
        x = as_batch(input_tensor)
        wishes = targets_of(targets, len(x))
        how = self._options(eigen_smooth, settings)
        self._inputs, self._outputs = input_tensor, None
        if not aug_smooth:
            return self._maps(x, wishes, how)
        *_, width = axes_of(self._explainers(self.target_layers[0], **how), x.ndim)[1]
        each = [
            np.flip(self._maps(np.flip(x, width) * factor, wishes, how), -1)
            if mirrored
            else self._maps(x * factor, wishes, how)
            for mirrored, factor in product((False, True), map(x.dtype.type, FACTORS))
        ]
        return np.mean(each, axis=0, dtype=np.float32)

    @property
    def outputs(self) -> Any:
        """The model's output for the last *input_tensor*, or the tuple of its outputs, of its kind.

        The model is run when they are asked for. ModelError where there was no call.
        """
        if self._inputs is None:
            raise ModelError("there are no outputs yet; call the CAM with a batch first")
        if self._outputs is None:
            self._outputs = CallableModel(self._explainers.model)(self._inputs)
        return self._outputs

    def _options(self, eigen_smooth: bool, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of the explainers; MethodError where the method cannot be smoothed."""
        method = self._explainers.method
        given = {**self._settings, **settings}
        if BATCH_SIZE in method.settings:
            given[BATCH_SIZE] = self.batch_size
        if not eigen_smooth or (method.in_graph and not method.summed):  # maps that are no sum ignore it, as there
            return {"settings": given}
        if not method.in_graph:
            raise MethodError(f"{type(self).__name__} has no eigen_smooth here; leave it out")
        return {"settings": given, "smooth": "eigen"}

    def _maps(self, x: NDArray[Any], targets: list[Any], options: Mapping[str, Any]) -> NDArray[np.float32]:
        found = [self._map(self._explainers(layer, **options), x, targets) for layer in self.target_layers]
        return scale_cam_image(self._joined(found))

    def _map(self, explainer: Explainer, x: NDArray[Any], targets: list[Any]) -> NDArray[np.float32]:
        """Return the map of one layer, from 0 to 1, at the size of *x*."""
        size = [x.shape[axis] for axis in axes_of(explainer, x.ndim)[1]]
        taken = as_taken(x, explainer.network.image)
        return scale_cam_image(np.maximum(explainer.attribute(taken, targets), 0), size)

    def _joined(self, maps: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the maps of several layers as one."""
        return np.mean(maps, axis=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Let every exception through."""


class RefineCAM(BaseCAM):
    """The product of the maps of several layers by *base_method*, with pytorch-grad-cam's call.

    onnxcam's own ``refinecam`` finds the layers, the ends of the network's stages.
    """

    method = "gradcam++"

    def __init__(
        self,
        model: ModelLike | CallableModel,
        target_layers: Sequence[str] | str | None = None,
        reshape_transform: Callable[..., Any] | None = None,
        base_method: type[BaseCAM] | None = None,
    ) -> None:
        super().__init__(model, target_layers, reshape_transform)
        if base_method is not None:
            self._explainers = ExplainersOfMethod(model, base_method.method)

    def _joined(self, maps: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        return np.prod([scale_cam_image(one) for one in maps], axis=0)


def scale_cam_image(cam: NDArray[Any], size: Sequence[int] | None = None) -> NDArray[np.float32]:
    """Return each map of *cam* [N, *space] from 0 to 1, enlarged to *size*."""
    each = tuple(range(1, cam.ndim))
    cam = cam - cam.min(axis=each, keepdims=True)
    cam = cam / (1e-7 + cam.max(axis=each, keepdims=True))
    return np.asarray(cam if size is None else [resized(one, size) for one in cam], np.float32)


class GuidedBackpropReLUModel:
    """Guided backpropagation with pytorch-grad-cam's call: ``GuidedBackpropReLUModel(model)(input_img, 281)``.

    *device* is not used.
    """

    def __init__(self, model: ModelLike | CallableModel, device: Any = None) -> None:
        self._explainers = ExplainersOfMethod(model, "guided-backprop")

    def __call__(self, input_img: Any, target_category: Any = None) -> NDArray[np.float32]:
        """Return the map of the first image, float32 [H, W, C], signed; None is the model's top class."""
        explainer = self._explainers()
        x = as_taken(as_batch(input_img)[:1], explainer.network.image)
        return np.moveaxis(
            explainer.attribute(x, targets_of(target_category, 1))[0], axes_of(explainer, x.ndim)[0] - 1, -1
        )
