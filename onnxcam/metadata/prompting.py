"""The prompt of a joined vision-language decoder, in the metadata of its model (`onnxcam.decoders`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["IMAGE_EMBEDDINGS", "IMAGE_PLACES", "LOGITS", "LOG_PROBABILITIES", "PROMPT", "TEXT_TOKENS", "Prompting"]

PROMPT, TEXT_TOKENS = "prompt_ids", "text_ids"
"""Inputs of a joined decoder: tokens of the prompt and the image in it, [1, P], and of the text, [1, T]; int64."""
LOG_PROBABILITIES, LOGITS = "text_log_probabilities", "next_token_logits"
"""Its outputs: log p of each token of the text given those before it, [1, T]; the scores of the next token, [1, V]."""
IMAGE_PLACES, IMAGE_EMBEDDINGS = "image_places", "image_embeddings"
"""Tensors inside it: which tokens are the image's, bool [1, P + T]; what the encoder gives for them, [K, H]."""
_KEY = "onnxcam.prompting"


@dataclass(frozen=True)
class Prompting:
    """How a joined decoder is asked.

    Attributes:
        prompt: The tokens of the prompt, those of the image included.
        image: The token that stands for a part of the image; -1 where there is none.
        words: The prompt as text, with one placeholder for the image.
        ends: The tokens that end a text.
        tokenizer: The file of the tokenizer.
        parts: The files of the parts by name; empty where they are not known.
        view: How the encoder sees an image, as `onnxcam.decoders.view.EncoderView` writes it.
        start: The tokens with which the decoder begins, where an encoder reads the prompt.
        grid: Rows and columns of the tokens of the image; of all tiles, and the whole after them.
    """

    prompt: tuple[int, ...]
    image: int
    words: str
    ends: tuple[int, ...]
    tokenizer: str
    parts: Mapping[str, str] = field(default_factory=dict)
    view: Mapping[str, int] = field(default_factory=dict)
    start: tuple[int, ...] = ()
    grid: tuple[int, int] = (1, 1)

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Prompting | None:
        """Read it from a model's *metadata*; None where the model is no joined decoder."""
        try:
            found = json.loads(metadata.get(_KEY, ""))
            ids = {name: tuple(map(int, found[name])) for name in ("prompt", "ends", "start")}
            return cls(
                ids["prompt"],
                int(found["image"]),
                str(found["words"]),
                ids["ends"],
                str(found["tokenizer"]),
                dict(found["parts"]),
                {name: int(number) for name, number in found["view"].items()},
                ids["start"],
                (int(found["grid"][0]), int(found["grid"][1])),
            )
        except (AttributeError, ValueError, TypeError, LookupError, RecursionError):
            return None

    def put(self, metadata: dict[str, str]) -> None:
        """Write it into a model's *metadata*."""
        metadata[_KEY] = json.dumps(asdict(self), ensure_ascii=False)

    @property
    def has_tiles(self) -> bool:
        """Whether the encoder sees the image in tiles, beside the whole."""
        return self.view.get("rows", 1) * self.view.get("columns", 1) > 1

    @property
    def is_crossed(self) -> bool:
        """Whether the decoder reads the image by cross-attention, by itself or behind an encoder of the prompt."""
        return self.image < 0 or bool(self.start)

    @property
    def inputs(self) -> dict[str, NDArray[Any]]:
        """Return the values of the inputs for no text but one token that ends it, [1, …] each."""
        end = self.ends[0] if self.ends else 0
        return {PROMPT: np.array([self.prompt], np.int64), TEXT_TOKENS: np.array([[end]], np.int64)}
