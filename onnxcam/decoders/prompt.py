"""The prompt of a decoder: as given, or by the chat template beside it; with a token for each part of the image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from onnxcam.decoders.files import DecoderFiles
from onnxcam.decoders.view import EncoderView
from onnxcam.errors import ModelError
from onnxcam.metadata.subwords import Subwords
from onnxcam.text import first_line, visible

__all__ = ["QUESTION", "PromptReader"]

QUESTION = "Describe the image."
"""What is asked where the user asks nothing."""
_PLACEHOLDER = "<image>"
_IMAGE_TOKENS = ("<image>", "<|image_pad|>", "<IMG_CONTEXT>", "<image_soft_token>", "<|image|>")
"""Tokens of an image, where no config.json names one."""
_AROUND = {
    "idefics3": ("<fake_token_around_image><global-img>", "<fake_token_around_image>"),
    "smolvlm": ("<fake_token_around_image><global-img>", "<fake_token_around_image>"),
    "internvl": ("<img>", "</img>"),
    "gemma3": ("\n\n<start_of_image>", "<end_of_image>\n\n"),
}
"""By the type of the model: what its processor puts before and after the tokens of an image."""
_TILED = ("idefics3", "smolvlm", "internvl")
"""Types of models whose processor cuts images into tiles, and puts the whole after them."""


@dataclass(frozen=True)
class PromptReader:
    """Reads prompts for the decoder in *files*; *image_token* overrides its config.json.

    ModelError where the token of an image is not known.
    """

    files: DecoderFiles
    image_token: str | None = None

    @property
    def subwords(self) -> Subwords:
        """The tokenizer."""
        return Subwords(str(self.files.tokenizer))

    @cached_property
    def image(self) -> int:
        """The number of the token that stands for a part of the image."""
        if self.image_token is not None:
            found = self.subwords.id(self.image_token)
            if found is None:
                raise ModelError(f"the tokenizer has no token {self.image_token!r}; give one of its tokens")
            return found
        config = self.files.beside("config.json")
        for key in ("image_token_id", "image_token_index"):
            if isinstance(config.get(key), int):
                return int(config[key])
        known = [self.subwords.id(token) for token in _IMAGE_TOKENS]
        found = next((id for id in known if id is not None), None)
        if found is None:
            raise ModelError(
                "neither config.json (image_token_id) nor the tokenizer tells the token of an image; give it with "
                "--image-token (image_token=)"
            )
        return found

    @property
    def image_or_padding(self) -> int:
        """The token of a part of the image, else that of padding: Florence-2 had none before transformers 5."""
        padding = self.files.beside("config.json").get("pad_token_id")
        try:
            return self.image
        except ModelError:
            if self.image_token is not None or not isinstance(padding, int):
                raise
            return padding

    @property
    def ends(self) -> tuple[int, ...]:
        """The tokens that end a text, by generation_config.json, config.json or tokenizer_config.json."""
        config = self.files.beside("config.json")
        text = config.get("text_config")
        for found in (self.files.beside("generation_config.json"), config, text if isinstance(text, dict) else {}):
            ends = found.get("eos_token_id")
            if ends is not None:
                return tuple(ends) if isinstance(ends, list) else (int(ends),)
        end = self.subwords.id(_written(self.files.beside("tokenizer_config.json").get("eos_token")))
        return () if end is None else (end,)

    def words(self, asked: str | None) -> str:
        """Return the prompt with one placeholder for the image.

        *asked* is the prompt if it has a placeholder, else the question of the chat template; None is `QUESTION`.
        ModelError where there is no template for a question.
        """
        token = self.subwords.token(self.image) or _PLACEHOLDER
        if asked is not None and (_PLACEHOLDER in asked or token in asked):
            return asked.replace(_PLACEHOLDER, token)
        template = self._template
        if not template:
            raise ModelError(
                "there is no chat template beside the decoder, so give the whole prompt with <image> in it, "
                f'such as --prompt "USER: <image> {QUESTION} ASSISTANT:" (prompt=)'
            )
        question = QUESTION if asked is None else asked
        content: Any = [{"type": "image"}, {"type": "text", "text": question}]
        words = self._rendered(template, content)
        words = words if token in words else self._rendered(template, f"{token}\n{question}")
        if asked is not None and asked.strip() not in words:
            raise ModelError(
                "the chat template beside the decoder takes no question; leave out --prompt (prompt=), or give the "
                "whole prompt with <image> in it"
            )
        return words

    def tokens(self, words: str, count: int, view: EncoderView) -> list[int]:
        """Return the tokens of the prompt *words*, with *count* of the image; ModelError for another number of them."""
        ids = self.subwords.encode(words)
        there = ids.count(self.image)
        if there == count:
            return ids
        if there != 1:
            raise ModelError(
                f"the prompt '{visible(words)}' has {there} tokens of the image, but the encoder gives {count} "
                "embeddings; write <image> once"
            )
        first, *others = [list(self.subwords.split(text).ids) for text in self._between(view)]
        at = ids.index(self.image)
        if first and first[-1:] == ids[at - 1 : at]:  # the prompt has them already
            first, others[-1] = [], []
        own = [*first, *(id for text in others for id in [*[self.image] * (count // len(others)), *text])]
        return [*ids[:at], *own, *ids[at + 1 :]]

    def check_tiles(self) -> None:
        """Raise ModelError if the model is of a kind whose prompt for tiles is not known."""
        if self._kind not in _TILED:
            raise ModelError(
                f"the tiles of model_type {self._kind!r} in config.json are not known, only those of "
                f"{', '.join(_TILED)}; leave out --tiles (tiles=)"
            )

    @property
    def _kind(self) -> str:
        return str(self.files.beside("config.json").get("model_type"))

    def _between(self, view: EncoderView) -> list[str]:
        """Return what stands before the tokens of the first tile, between those of two tiles, and after the last."""
        kind = self._kind
        before, after = _AROUND.get(kind, ("", ""))
        if view.count == 1:
            return [before, after]
        if kind == "internvl":
            return [before, *[""] * (view.count - 1), after]
        tiles = [
            ("\n" if at and at % view.columns == 0 else "")
            + f"{after}<row_{at // view.columns + 1}_col_{at % view.columns + 1}>"
            for at in range(view.count - 1)
        ]
        return [*tiles, f"\n\n{before}", after]

    @property
    def _template(self) -> str:
        """The chat template, from the files in which processors keep it."""
        text = self.files.text_beside("chat_template.jinja")
        names = ("chat_template.json", "processor_config.json", "tokenizer_config.json")
        written = (self.files.beside(name).get("chat_template") for name in names)
        return text or next((one for one in written if isinstance(one, str) and one), "")

    def _rendered(self, template: str, content: Any) -> str:
        try:
            from jinja2.sandbox import ImmutableSandboxedEnvironment
        except ImportError:
            raise ModelError("chat templates need the library jinja2; pip install 'onnxcam[text]'") from None
        config = self.files.beside("tokenizer_config.json")
        special = {name: _written(config.get(name)) for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
        room = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        messages = [{"role": "user", "content": content}]
        try:
            found = room.from_string(template).render(messages=messages, add_generation_prompt=True, **special)
        except Exception as error:
            raise ModelError(
                f"the chat template fails: {first_line(error)}; give the whole prompt with <image> in it, --prompt"
            ) from None
        return str(found)


def _written(token: Any) -> str:
    """Return a token as tokenizer_config.json writes it: as text, or as an object with its content."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")
