"""How the text of an encoder-decoder begins: the tokens before the words, and the prompt of its encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onnxcam.decoders.files import DecoderFiles
from onnxcam.errors import ModelError
from onnxcam.metadata.subwords import Subwords

__all__ = ["CAPTION", "Beginning"]

CAPTION = "What does the image describe?"
"""What Florence-2 is asked for a caption."""


@dataclass(frozen=True)
class Beginning:
    """Reads how texts begin from the files beside the parts."""

    files: DecoderFiles

    @property
    def _subwords(self) -> Subwords:
        return Subwords(str(self.files.tokenizer))

    def _said(self, key: str) -> int | None:
        """Return a token that generation_config.json, config.json or its part for the decoder names."""
        config = self.files.beside("config.json")
        parts = [config.get(name) for name in ("decoder", "text_config")]
        for found in (self.files.beside("generation_config.json"), config, *parts):
            value: Any = found.get(key) if isinstance(found, dict) else None
            if isinstance(value, int):
                return value
        return None

    @property
    def start(self) -> list[int]:
        """The tokens before the words: that of the start, and the one that begins a text in training.

        ModelError where no file names the first.
        """
        config = self.files.beside("config.json")
        start = self._said("decoder_start_token_id")
        start = self._said("bos_token_id") if start is None else start
        if start is None:
            raise ModelError(
                "neither generation_config.json nor config.json tells the token with which the decoder starts "
                '(decoder_start_token_id); give the first tokens with --prompt (prompt=), such as --prompt "<s>"'
            )
        own, encoder = config.get("model_type"), config.get("encoder")
        if own == "blip" or (isinstance(encoder, dict) and encoder.get("model_type") == "donut-swin"):
            return [start]
        forced, first = self._said("forced_bos_token_id"), self._first
        begun = first if forced is None else forced
        return [start] if begun in (None, start) else [start, begun]

    @property
    def _first(self) -> int | None:
        """The token that the tokenizer puts before a text."""
        own, plain = self._subwords.encode("a"), list(self._subwords.split("a").ids)
        return own[0] if own[: len(plain)] != plain and len(own) > len(plain) else None

    def decoder_prompt(self, asked: str | None) -> list[int]:
        """Return the tokens before the words of a decoder without an encoder of prompts; *asked* follows the start."""
        if asked is None:
            return self.start
        given = list(self._subwords.split(asked).ids)
        known = self._said("decoder_start_token_id")
        return given if known is None or given[:1] == [known] else [*self.start, *given]

    def encoder_prompt(self, question: str, image: int, count: int) -> list[int]:
        """Return the tokens of the encoder's prompt: *count* times *image*, and the *question*."""
        return [*[image] * count, *self._subwords.encode(question)]
