"""Explanations of images, one target each: what a call of an `Explainer` does."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self, TypeAlias, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from onnxcam import paths
from onnxcam.errors import PreprocessError, TargetError
from onnxcam.explainer.assembler import Assembler
from onnxcam.explainer.compiled import CompiledExplanation
from onnxcam.explainer.explanation import Explanation
from onnxcam.explainer.frame_maps import explain_frames
from onnxcam.explainer.options import FixedArguments, Options
from onnxcam.explainer.request import Arrays, ExplanationRequest, PreprocessedImage
from onnxcam.explainer.runner import Runner
from onnxcam.explainer.tiled import TiledRunner
from onnxcam.media.video import is_video
from onnxcam.methods import find_method
from onnxcam.methods.base import INDEPENDENT
from onnxcam.model.clip_modality import ClipModality
from onnxcam.model.description import ModelDescription
from onnxcam.model.inputs import InputValue
from onnxcam.preprocess import stack
from onnxcam.targets import Goal, Look, Target, Top, parse
from onnxcam.targets.classification import Classes
from onnxcam.targets.registry import TargetKind

__all__ = ["BATCH", "Image", "ImageCalls"]

Image: TypeAlias = "str | os.PathLike[str] | NDArray[np.uint8] | PreprocessedImage"


BATCH = 8
"""The number of images in a run, where the model's batch size is open."""


class ImageCalls(FixedArguments):
    """An explainer's model, method and target, and the explanation of images. See `onnxcam.Explainer`."""

    network: ModelDescription
    method: str
    target: Target
    settings: Mapping[str, Any]
    frames: int | str | None
    _runner: Runner
    _tiled: TiledRunner | None
    _assembler: Assembler

    @property
    def class_names(self) -> Sequence[str] | None:
        """The names of the model's classes; None where they are not known."""
        return self.network.class_names

    @overload
    def __call__(
        self, images: Image, target: Target = None, inputs: Mapping[str, InputValue] | None = None
    ) -> Explanation: ...
    @overload
    def __call__(
        self, images: list[Image], target: Target = None, inputs: Mapping[str, InputValue] | None = None
    ) -> list[Explanation]: ...
    def __call__(
        self, images: Image | list[Image], target: Target = None, inputs: Mapping[str, InputValue] | None = None
    ) -> Explanation | list[Explanation]:
        """Explain one image, or each of a list.

        Args:
            images: An image file, an array uint8 [H, W, 3] RGB, what `prepare` returned, or a list of these; of a
                model of volumes a file or an array [D, H, W]; of a model of signals a .wav, .csv or .npy file, or an
                array (docs/signals.md).
            target: What to explain; None is the default target of this explainer.
            inputs: The model's other inputs; they override those of this explainer.

        Raises:
            ImageError: an image cannot be read.
            TargetError: the target means nothing for the model or the image.
            GradientError: the gradient is zero everywhere.
        """
        if self._is_of_frames(images):
            return explain_frames(self, images, target, inputs)  # type: ignore[arg-type]
        self._require_videos(images if isinstance(images, list) else [images])
        extra = self.network.read_inputs(inputs or {})
        with self.network.telling_guess():
            found = list(self._explain(images if isinstance(images, list) else [images], target, extra))
        return found if isinstance(images, list) else found[0]

    def prepare(self, image: Image) -> PreprocessedImage:
        """Read and preprocess *image*, for any number of calls of this explainer. Other threads may do it ahead.

        Raises ImageError and PreprocessError.
        """
        if isinstance(image, PreprocessedImage):
            return image
        content = self.network.modality.read(image)
        name = paths.stem(image) if isinstance(image, str | os.PathLike) else ""
        return PreprocessedImage(content, self.network.modality.tensor(content), name)

    def replace(self, **options: Unpack[Options]) -> Self:
        """Return another explainer of the same model: the arguments of this one, but for *options*.

        Example:
            >>> Explainer("model.onnx").replace(method="layercam", signed=True)
        """
        kind: Any = type(self)
        made: Self = kind(**{**self.arguments(), **options})
        return made

    def _is_of_frames(self, image: Image | list[Image]) -> bool:
        """Whether *image* is a video whose frames the model takes one by one."""
        return is_video(image) and self.network.modality.decodes(str(image))

    def _require_videos(self, images: Sequence[Image]) -> None:
        """Raise PreprocessError where frames are asked for, and an image has none."""
        if self.frames is None or isinstance(self.network.modality, ClipModality):
            return
        if not all(isinstance(one, PreprocessedImage) for one in images):
            raise PreprocessError("frames= (--frames) is for videos, and this is an image; leave it out")

    def _explain(self, images: Sequence[Image], wanted: Target, extra: Arrays) -> Iterator[Explanation]:
        for start in range(0, len(images), BATCH):
            batch = [self.prepare(source) for source in images[start : start + BATCH]]
            looks = [self.network.look(one.tensor, one.content, extra) for one in batch]
            goals = [self._goal(wanted, look) for look in looks]
            same = len({one.tensor.shape for one in batch}) == 1
            for group in [range(len(batch))] if same else [[i] for i in range(len(batch))]:
                request = ExplanationRequest(stack(batch[i].tensor for i in group), [goals[i] for i in group], extra)
                found = (self._tiled or self._runner).run(request)
                for row, (i, (compiled, one)) in enumerate(zip(group, found, strict=True)):
                    yield self._assembled(batch[i], request.of([row]), compiled, one, looks[i])

    def _assembled(
        self,
        image: PreprocessedImage,
        request: ExplanationRequest,
        compiled: CompiledExplanation,
        results: Arrays,
        look: Look,
    ) -> Explanation:
        """Return the explanation of *image*; of windows with the joined output, which *look* has."""
        if self._tiled is None:
            return self._assembler.explanation(image.content, request, compiled, results, name=image.name)
        tile, results = self._tiled.heaviest(request), {**look.outputs, **results}
        return self._assembler.explanation(image.content, tile, compiled, results, name=image.name, joined=True)

    def _goal(self, wanted: Target, look: Look) -> Goal:
        wish = parse(self.target if wanted is None else wanted, self.class_names)
        if isinstance(wish, Top) and wish.count > 1:
            raise TargetError(
                f"top={wish.count} is {wish.count} explanations; ask for each (--target twice, Explainer.each)"
            )
        goal, ranks = self.network.resolve(wish, look), "rank" in self._runner.settings  # a target ranks concepts
        return goal if ranks else self._marked(goal, wish)

    def _marked(self, goal: Goal, wish: TargetKind) -> Goal:
        """Return *goal* with a warning if the user asked for it and the method hardly depends on it."""
        if not find_method(self.method).class_independent or wish == Top():
            return goal
        warning = (
            f"{self.method} is {INDEPENDENT}: its map hardly depends on the target; "
            f"{self.network.task.method} shows what speaks for one"
        )
        return replace(goal, warnings=(*goal.warnings, warning))

    def check(self, target: Target) -> None:
        """Raise TargetError for a target that no image can have: wrong notation, or a class that the model lacks."""
        task, wish = self.network.task, parse(target, self.class_names)
        if isinstance(task, Classes):
            task.check(wish)
