"""Comparison of texts: of text recognisers letter by letter, of captioners word by word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onnxcam.compare.on_access import true_annotations
from onnxcam.compare.outcome import Agreement, Answer, Prediction
from onnxcam.compare.slices import TruthScores
from onnxcam.compare.tasks.observation import Observation, Observed, Wanted
from onnxcam.errors import MetricError, TruthError
from onnxcam.metrics.accuracy_text import Edit, edits, text_accuracy
from onnxcam.targets.captioning import Captions
from onnxcam.targets.goal import Look
from onnxcam.targets.kinds import Text, Word
from onnxcam.targets.text_recognition import TextRecognition
from onnxcam.text import visible

if TYPE_CHECKING:
    from onnxcam.compare.image_comparison import ImageComparison
    from onnxcam.metrics.truth import Truth

__all__ = [
    "CAPTION_DEFAULTS",
    "DEFAULTS",
    "MOST",
    "CaptionObservation",
    "CaptionPrediction",
    "Edit",
    "TextObservation",
    "TextPrediction",
    "edits",
]

DEFAULTS = "character_error<=0.05, same_text>=0.8, mapped>=0.95, pearson>=0.7, iou>=0.4"
"""Default requirements, for a quantised text recogniser against its float reference.

Measured on models/reader, as static int8 and with one activation scale divided by 12: `character_error` is 0.00 sound
and 0.25 spoilt, `same_text` 1.00 and 0.13, `pearson` 1.00 and 0.84, `iou` 0.97 and 0.67.
"""
CAPTION_DEFAULTS = "word_error<=0.2, same_text>=0.6, mapped>=0.95, pearson>=0.7, iou>=0.4"
"""Default requirements, for a quantised captioner against its float reference.

One changed word changes those after it, so the bounds are wide. Measured on models/captioner, with weights of 8 and of
3 bits: `word_error` is 0.06 sound and 0.64 spoilt, `same_text` 0.88 and 0.25, `pearson` 1.00 and 0.57.
"""
MOST = 3
"""Maximum number of confusions that are named."""


@dataclass(frozen=True)
class TextPrediction(Prediction):
    """Text that a model reads in one image.

    Attributes:
        units: Its letters, or words of a caption.
        alphabet: All letters or words that the model knows, in the order of its scores.
        known: Whether these are letters; False if they are indices.
    """

    units: tuple[str, ...]
    alphabet: Sequence[str]
    known: bool = True

    task = "text"
    metrics = ("same_text", "character_error")
    truth_metrics: ClassVar[tuple[str, ...]] = ("true_character_error", "text_accuracy")
    defaults = DEFAULTS
    forms: ClassVar[Mapping[str, str]] = {
        "units": "texts",
        "alphabet": "texts",
        "known": "bool []",
    }
    shared = ("alphabet", "known")
    unit: ClassVar[str] = "letter"

    @property
    def text(self) -> str:
        """Return the text."""
        return ("" if self.known else " ").join(self.units)

    def answer(self, names: Sequence[str] | None) -> Answer:
        """Return the text."""
        return Answer(f"“{visible(self.text)}”" if self.units else "no text", None, {"text": self.text})

    @classmethod
    def conclude(cls, comparisons: Sequence[ImageComparison], names: Sequence[str] | None) -> list[str]:
        """Return the units that the candidate confuses most.

        Raises:
            MetricError: the reference reads no text in any image.
        """
        if not any(one.details["length"] for one in comparisons):
            raise MetricError(
                f"the reference reads no text in any of the {len(comparisons)} images: nothing can be compared; give "
                "other images, or check --preprocess"
            )
        found = Counter[Edit]((own, other) for one in comparisons for own, other in one.details["edits"])
        return [_finding(*edit, count, cls.unit) for edit, count in found.most_common(MOST) if count > 1]

    @classmethod
    def accuracy(
        cls, comparisons: Sequence[ImageComparison], truth: Truth, names: Sequence[str] | None, only: int | None = None
    ) -> TruthScores | None:
        """Return the character error rate of both, and the share of texts that are right.

        Raises:
            TruthError: the letters are not known, or the truth has no text.
        """
        if not all(pair.details["known"] for pair in comparisons):
            raise TruthError("the model's letters are not known, only their indices; write the letters into its card")
        texts = [[str(pair.answers[side].data["text"]) for pair in comparisons] for side in (0, 1)]
        own = true_annotations(comparisons, truth)
        first, second = (text_accuracy(side, own) for side in texts)
        errors = first.character_error, second.character_error
        return TruthScores({"true_character_error": errors, "text_accuracy": (first.exact, second.exact)})

    def compare(self, candidate: TextPrediction) -> Agreement:
        """Compare the texts by the edits from the reference's to the candidate's."""
        self._require_same_alphabet(candidate)
        changed = edits(self.units, candidate.units)
        values = {"same_text": float(not changed)}
        values[self.metrics[1]] = len(changed) / (len(self.units) or max(len(candidate.units), 1))
        notes = [] if self.units or candidate.units else ["neither model reads a text"]
        details = {"edits": [list(edit) for edit in changed], "length": len(self.units), "known": self.known}
        return Agreement(values, notes, details)

    def _require_same_alphabet(self, candidate: TextPrediction) -> None:
        """Raise MetricError if the two do not know the same letters."""
        own, other = self.alphabet, candidate.alphabet
        if len(own) != len(other):
            raise MetricError(
                f"the reference has {len(own)} {self.unit}s and the candidate {len(other)}: texts of different "
                "alphabets are not compared; export both from one network"
            )
        if self.known != candidate.known:
            whose = "candidate" if self.known else "reference"
            raise MetricError(
                f"the {self.unit}s of the {whose} are not known: write them into its card, as the other's has them "
                "(docs/card.md)"
            )
        for index, (one, two) in enumerate(zip(own, other, strict=True)):
            if one != two:
                raise MetricError(
                    f"{self.unit} {index} is {visible(one)!r} in the reference and {visible(two)!r} in the candidate: "
                    "texts of different alphabets are not compared; correct the card of the wrong one (docs/card.md)"
                )


@dataclass(frozen=True)
class CaptionPrediction(TextPrediction):
    """Caption that a model writes for one image."""

    task = "caption"
    metrics = ("same_text", "word_error")
    truth_metrics = ()
    defaults = CAPTION_DEFAULTS
    unit = "word"

    @property
    def text(self) -> str:
        """Return the caption."""
        return " ".join(self.units)

    @classmethod
    def accuracy(
        cls, comparisons: Sequence[ImageComparison], truth: Truth, names: Sequence[str] | None, only: int | None = None
    ) -> TruthScores | None:
        """Return None: one true caption says little of another caption."""
        return None


class TextObservation(Observation):
    """Text recognisers. The whole text is explained, then its first letters."""

    task = TextRecognition
    prediction = TextPrediction
    in_images = True

    def predict(self, model: Observed, look: Look) -> TextPrediction:
        """Return the text in one image."""
        task = model.network.task
        assert isinstance(task, TextRecognition)
        return TextPrediction(tuple(task.letters(look)), task.labels, task.alphabet.known)

    def targets(self, model: Observed, prediction: Prediction) -> Wanted:
        """Return the text, and each of its letters; nothing where there is no text."""
        assert isinstance(prediction, TextPrediction)
        text, count = prediction.text, len(prediction.units)
        return [Text(text), *(Text(text, place) for place in range(count if count > 1 else 0))] if count else []


class CaptionObservation(Observation):
    """Captioners. The first words of the reference's caption are explained, each after the words before it."""

    task = Captions
    prediction = CaptionPrediction
    in_images = True

    def predict(self, model: Observed, look: Look) -> CaptionPrediction:
        """Return the caption of one image."""
        task = model.network.task
        assert isinstance(task, Captions)
        return CaptionPrediction(tuple(task.caption(look)), task.labels)

    def targets(self, model: Observed, prediction: Prediction) -> Wanted:
        """Return the words of the caption."""
        assert isinstance(prediction, CaptionPrediction)
        words = prediction.units
        return [Word(word, " ".join(words[:place])) for place, word in enumerate(words)]


def _finding(own: str | None, other: str | None, count: int, unit: str) -> str:
    first, second = (None if one is None else repr(visible(one)) for one in (own, other))
    if second is None:
        return f"the candidate leaves out the {unit} {first} {count} times"
    if first is None:
        return f"the candidate adds the {unit} {second} {count} times"
    return f"the candidate reads {second} in place of {first} {count} times"
