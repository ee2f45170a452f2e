"""All concepts of images, by method `dff`."""

from __future__ import annotations

from functools import cached_property
from typing import overload

from onnxcam.errors import MethodError
from onnxcam.explainer.concept_maps import ConceptMaps
from onnxcam.explainer.concepts import ConceptFinder, read_concepts
from onnxcam.explainer.image_calls import Image, ImageCalls
from onnxcam.explainer.request import Arrays, PreprocessedImage
from onnxcam.methods.base import NONE
from onnxcam.targets import Goal, Target, Top, parse
from onnxcam.targets.classification import Classes

__all__ = ["CONCEPTS", "ConceptCalls"]

CONCEPTS = "dff"
"""The method that finds concepts."""


class ConceptCalls(ImageCalls):
    """The concepts of images. See `onnxcam.Explainer`."""

    @overload
    def concepts(
        self, images: Image, number: int | None = None, target: Target = None, *, together: bool | None = None
    ) -> ConceptMaps: ...
    @overload
    def concepts(
        self, images: list[Image], number: int | None = None, target: Target = None, *, together: bool | None = None
    ) -> list[ConceptMaps]: ...
    def concepts(
        self,
        images: Image | list[Image],
        number: int | None = None,
        target: Target = None,
        *,
        together: bool | None = None,
    ) -> ConceptMaps | list[ConceptMaps]:
        """Find what the layer sees in an image, whatever the class: all concepts of method `dff`, of one factorisation.

        Args:
            images: An image as for a call, or a list of images.
            number: The number of concepts; None is the setting *concepts* of `dff`, 5.
            target: Of models that are no classifiers: what chooses the layer. It changes nothing else.
            together: The images share one factorisation: a concept has the same number, colour and class in all of
                them. None is the setting *together* of `dff`, no.

        Raises as a call does, and MethodError where the layer has fewer positions or channels than concepts.

        Example:
            >>> found = Explainer("resnet50.onnx").concepts("cat.jpg", 4)
            >>> found.classes, found.maps.shape
        """
        if self.method != CONCEPTS:
            return self._of_concepts.concepts(images, number, target, together=together)
        several = images if isinstance(images, list) else [images]
        count = self._runner.settings["concepts"] if number is None else read_concepts(number)
        extra = self.network.read_inputs({})
        with self.network.telling_guess():
            batch = [self._image_of_concepts(image) for image in several]
            goals = [self._goal_of_concepts(target, one, extra) for one in batch]
            rows = list(zip(batch, goals, strict=True))
            shared = self.shares_concepts if together is None else together
            groups = [rows] if shared else [[row] for row in rows]
            finder = ConceptFinder(self._runner, self._assembler)
            found = [one for group in groups if group for one in finder.find(group, extra, count)]
        return found if isinstance(images, list) else found[0]

    @property
    def finds_concepts(self) -> bool:
        """Whether ``onnxcam explain`` writes all concepts of an image in place of a map: `dff` without its rank."""
        return self.method == CONCEPTS and "rank" not in self.settings

    @property
    def shares_concepts(self) -> bool:
        """Whether the images of one call of `concepts` share them: the setting *together* of `dff`."""
        return bool(self._runner.settings.get("together") == "yes")

    @cached_property
    def _of_concepts(self) -> ConceptCalls:
        """The explainer of the same model that finds concepts."""
        return self.replace(method=CONCEPTS, settings={}, smooth=NONE, signed=False)

    def _image_of_concepts(self, image: Image) -> PreprocessedImage:
        """Return the prepared *image*; MethodError for windows and frames."""
        if self._tiled is not None or self._is_of_frames(image):
            raise MethodError(
                "all concepts at once are those of an image in one piece, not of windows or of the frames of a video; "
                "choose one concept, settings={'rank': 1} (--set rank=1)"
            )
        return self.prepare(image)

    def _goal_of_concepts(self, target: Target, image: PreprocessedImage, extra: Arrays) -> Goal:
        """Return what chooses the layer: of a classifier its top class, whatever the *target*."""
        look = self.network.look(image.tensor, image.content, extra)
        if isinstance(self.network.task, Classes):
            wish = parse(self.target if target is None else target, self.class_names)
            self.network.task.check(wish)
            return self._marked(self.network.resolve(Top(), look), wish)
        return self._goal(target, look)
