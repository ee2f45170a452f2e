"""The extractors of torch-cam for ``.onnx`` files: `NAMES` gives each the id of onnxcam's method.

::

    from onnxcam.compat import CallableModel
    from onnxcam.compat.torchcam.methods import LayerCAM

    model = CallableModel("model.onnx")
    with LayerCAM(model, target_layer="layer4") as extractor:
        out = model(x)
        maps = extractor(int(out[0].argmax()), out)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from onnxcam.compat.arrays import as_array, as_batch, as_given
from onnxcam.compat.callable_model import CallableModel, ModelCall
from onnxcam.compat.explainers import ExplainersOfMethod, arguments_of, classes_of, layer_names, targets_of
from onnxcam.errors import MethodError, TargetError
from onnxcam.explainer.request import select_rows
from onnxcam.media.resample import resized

NAMES = {
    "CAM": "cam",
    "GradCAM": "gradcam",
    "GradCAMpp": "gradcam++",
    "SmoothGradCAMpp": "smoothgradcam++",
    "XGradCAM": "xgradcam",
    "LayerCAM": "layercam",
    "ScoreCAM": "scorecam",
    "SSCAM": "sscam",
    "ISCAM": "iscam",
}
"""The method of each class."""

_SHAPE = ("input_shape", "enable_hooks", "reshape_transform")
_PARAMETERS = dict.fromkeys(NAMES, _SHAPE) | {
    "CAM": ("fc_layer", *_SHAPE),
    "SmoothGradCAMpp": ("num_samples", "std", *_SHAPE),
    "ScoreCAM": ("batch_size", *_SHAPE),
    "SSCAM": ("batch_size", "num_samples", "std", *_SHAPE),
    "ISCAM": ("batch_size", "num_samples", *_SHAPE),
}
"""The arguments of each class after the layer, in torch-cam's order."""
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "SmoothGradCAMpp": {"num_samples": 4, "std": 0.3},
    "SSCAM": {"num_samples": 35},
}
"""The defaults that are not onnxcam's."""
_SETTINGS = {"num_samples": "samples", "std": "noise", "batch_size": "batch_size"}

_OF_INPUT = ("smoothgradcam++",)
"""Methods whose noise is added to the input."""

__all__ = ["NAMES", "CAMExtractor", *NAMES]


class CAMExtractor:
    """An extractor with torch-cam's call: the model is called first, then the extractor.

    Args:
        model: The `CallableModel` that is called.
        target_layer: The name of a layer, or a list of names; None chooses one.
        arguments, named: Those of torch-cam's class, in its order (`parameters`), with its defaults: *num_samples* and
            *std* of SmoothGradCAMpp and SSCAM, *num_samples* of ISCAM, *batch_size*. *input_shape*, *fc_layer* and
            *reshape_transform* are not used, as the file says them.
    """

    method: ClassVar[str]
    parameters: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        model: CallableModel,
        target_layer: str | Sequence[str] | None = None,
        *arguments: Any,
        **named: Any,
    ) -> None:
        if not isinstance(model, CallableModel):
            raise MethodError(
                f"the model of an extractor is called, and {type(model).__name__} cannot be; "
                'give onnxcam.compat.CallableModel("model.onnx")'
            )
        kind = type(self).__name__
        said = arguments_of(kind, self.parameters, arguments, named, "model, target_layer")
        given = {**_DEFAULTS.get(kind, {}), "batch_size": 32, **said}
        self.model, self.target_names = model, layer_names(target_layer)
        self._settings = {ours: given[theirs] for theirs, ours in _SETTINGS.items() if given.get(theirs) is not None}
        self._explainers = ExplainersOfMethod(model, self.method)
        self._call: ModelCall | None = None
        self._hears = bool(given.get("enable_hooks", True))
        model.listeners.add(self)

    def __call__(
        self, class_idx: Any = None, scores: Any = None, normalized: bool = True, *, targets: Any = None
    ) -> Any:
        """Return the maps of the input that *scores* are of, a list with [N, h, w] for each layer, of the input's kind.

        Without *scores*, and with scores that were changed, it is the last input since the extractor was made.
        *class_idx* is a class index, or one for each image; *targets* may be other targets of onnxcam. *normalized*
        scales each map to [0, 1]. Raises as `onnxcam.Explainer.attribute`, TargetError unless the model was called,
        *scores* have a row for each image, and one of *class_idx* and *targets* is given.
        """
        call = self.model.call_of(scores) or self._call
        if call is None:
            raise TargetError("the model was not called since the extractor was made; call model(x) before it")
        if (class_idx is None) == (targets is None):
            raise TargetError("an extractor needs what to explain; give either class_idx or targets")
        count, rows = len(as_batch(call.given)), list(getattr(scores, "shape", ()))[:-1]
        if rows and rows[0] != count:
            raise TargetError(
                f"the scores have {rows[0]} rows, and the model was called with {count} images; "
                "give what model(x) returned"
            )
        wishes = targets_of(class_idx if targets is None else targets, count)
        maps = [self._map(layer, call, wishes) for layer in self.target_names]
        return [as_given(_scaled(one) if normalized else one, call.given) for one in maps]

    def hear(self, call: ModelCall) -> None:
        """Take note of *call*, unless hooks are disabled."""
        if self._hears:
            self._call = call

    def _map(self, layer: str | None, call: ModelCall, targets: list[Any]) -> Any:
        settings = self._explainers.having(self._settings)
        if self.method in _OF_INPUT:
            found = self._of_noisy_input(layer, call, targets, settings)
        else:
            found = self._explainers(layer, settings).attribute(call.feeds, targets)
        return found if self.method == "cam" else np.maximum(found, 0)

    def _of_noisy_input(
        self, layer: str | None, call: ModelCall, targets: list[Any], settings: dict[str, Any]
    ) -> NDArray[np.float32]:
        """Return the maps with noise of one deviation for all images; onnxcam's is a share of an image's range."""
        image = self._explainers(layer, settings).network.picture
        maps = []
        for row, target in enumerate(targets):
            feeds = select_rows(call.feeds, [row], len(targets))
            scale = float(np.ptp(feeds[image])) or 1.0
            maps.append(
                self._explainers(layer, {**settings, "noise": settings["noise"] / scale}).attribute(feeds, target)
            )
        return np.concatenate(maps)

    @staticmethod
    def fuse_cams(cams: list[Any], target_shape: Sequence[int] | None = None) -> Any:
        """Return the largest of several maps [N, h, w] at each position, at the size of the largest map, or given.

        MethodError where there are none.
        """
        if not cams:
            raise MethodError("there are no maps to fuse; give the list that an extractor returns")
        maps = [as_array(one) for one in cams]
        size = target_shape or tuple(map(max, zip(*(one.shape[1:] for one in maps), strict=True)))
        large = [np.stack([resized(one, size) for one in each]) for each in maps]
        return as_given(np.max(large, axis=0), cams[0])

    def enable_hooks(self) -> None:
        """Take note of calls of the model."""
        self._hears = True

    def disable_hooks(self) -> None:
        """Take no note of calls of the model."""
        self._hears = False

    def remove_hooks(self) -> None:
        """Take no more note of calls of the model."""
        self.model.listeners.discard(self)

    def reset_hooks(self) -> None:
        """Forget the last call."""
        self._call = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove and reset hooks, and let every exception through."""
        self.remove_hooks()
        self.reset_hooks()


def _scaled(maps: Any) -> Any:
    """Return each of *maps* [N, *space] from 0 to 1."""
    each = tuple(range(1, maps.ndim))
    maps = maps - maps.min(axis=each, keepdims=True)
    return maps / (maps.max(axis=each, keepdims=True) + np.float32(1e-8))


__getattr__ = classes_of(NAMES, CAMExtractor, __name__, parameters=_PARAMETERS)
