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

from collections.abc import Sequence
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np

from onnxcam.compat.arrays import as_array, as_batch, as_given
from onnxcam.compat.callable_model import CallableModel
from onnxcam.compat.explainers import ExplainersOfMethod, classes_of, layer_names, targets_of
from onnxcam.errors import MethodError, TargetError
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

_OF_INPUT = ("smoothgradcam++",)
"""Methods whose noise is added to the input; onnxcam's is then a share of the input's range."""

__all__ = ["NAMES", "CAMExtractor", *NAMES]


class CAMExtractor:
    """An extractor with torch-cam's call: the model is called first, then the extractor.

    Args:
        model: The `CallableModel` that is called.
        target_layer: The name of a layer, or a list of names; None chooses one.
        input_shape: Not used: the file says it.
        num_samples: The noisy samples of SmoothGradCAMpp and SSCAM, the steps of ISCAM; None is onnxcam's default.
        std: The deviation of the noise; None is onnxcam's default.
        batch_size: The samples in a run.
    """

    method: ClassVar[str]

    def __init__(
        self,
        model: CallableModel,
        target_layer: str | Sequence[str] | None = None,
        input_shape: Sequence[int] | None = None,
        *,
        num_samples: int | None = None,
        std: float | None = None,
        batch_size: int = 32,
    ) -> None:
        if not isinstance(model, CallableModel):
            raise MethodError(
                f"the model of an extractor is called, and {type(model).__name__} cannot be; "
                'give onnxcam.compat.CallableModel("model.onnx")'
            )
        self.model, self.target_names = model, layer_names(target_layer)
        settings = {"samples": num_samples, "noise": std, "batch_size": batch_size}
        self._settings = {name: value for name, value in settings.items() if value is not None}
        self._explainers = ExplainersOfMethod(model, self.method)

    def __call__(
        self, class_idx: Any = None, scores: Any = None, normalized: bool = True, *, targets: Any = None
    ) -> Any:
        """Return the maps of the last input of the model, a list with [N, h, w] for each layer, of the input's kind.

        *class_idx* is a class index, or one for each image; *targets* may be other targets of onnxcam. *scores* is not
        used. *normalized* scales each map to [0, 1]. Raises as `onnxcam.Explainer.attribute`, TargetError unless the
        model was called and one of *class_idx* and *targets* is given.
        """
        if self.model.last is None:
            raise TargetError("the model was not called yet; call model(x) before the extractor")
        if (class_idx is None) == (targets is None):
            raise TargetError("an extractor needs what to explain; give either class_idx or targets")
        given, x = self.model.last, as_batch(self.model.last)
        wishes = targets_of(class_idx if targets is None else targets, len(x))
        maps = [self._map(layer, x, wishes) for layer in self.target_names]
        return [as_given(_scaled(one) if normalized else one, given) for one in maps]

    def _map(self, layer: str | None, x: Any, targets: list[Any]) -> Any:
        settings = self._explainers.having(self._settings)
        if self.method in _OF_INPUT and "noise" in settings:
            settings["noise"] /= float(np.ptp(x)) or 1.0
        found = self._explainers(layer, settings).attribute(x, targets)
        return found if self.method == "cam" else np.maximum(found, 0)

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

    def remove_hooks(self) -> None:
        """Do nothing: there are no hooks."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Let every exception through."""


def _scaled(maps: Any) -> Any:
    """Return each of *maps* [N, *space] from 0 to 1."""
    each = tuple(range(1, maps.ndim))
    maps = maps - maps.min(axis=each, keepdims=True)
    return maps / (maps.max(axis=each, keepdims=True) + np.float32(1e-8))


__getattr__ = classes_of(NAMES, CAMExtractor, __name__)
