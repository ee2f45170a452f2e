"""From the files of a vision-language decoder to one model that every command explains."""

from __future__ import annotations

import os
from dataclasses import replace

import onnx_ir as ir

from onnxcam.decoders.beginning import CAPTION, Beginning
from onnxcam.decoders.encoder import Encoder
from onnxcam.decoders.files import PartsLike, find_files
from onnxcam.decoders.graph import joined
from onnxcam.decoders.meeting import JoinedParts, check_widths, find_meeting
from onnxcam.decoders.prompt import PromptReader
from onnxcam.graph.io import load
from onnxcam.graph.weights import in_one_folder
from onnxcam.metadata.card import Card
from onnxcam.metadata.prompting import Prompting
from onnxcam.preprocess import Spec

__all__ = ["join"]


def join(
    parts: PartsLike,
    *,
    prompt: str | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
    image_token: str | None = None,
    preprocess: Spec | None = None,
    tiles: tuple[int, int] = (1, 1),
) -> ir.Model:
    """Join the parts of a vision-language decoder: image encoder, table of embeddings, decoder.

    Args:
        parts: The folder of an export (``vision_encoder.onnx``, ``embed_tokens.onnx``, ``decoder_model_merged.onnx``,
            there or in its folder ``onnx``), or the files by part, ``"vision"``, ``"embed"`` and ``"decoder"``; of an
            encoder-decoder ``encoder_model.onnx`` and ``decoder_model.onnx``.
        prompt: The question for the chat template beside the parts, or the whole prompt with ``<image>`` in it; of an
            encoder-decoder the question, or how a text begins.
        tokenizer: A ``tokenizer.json``; None finds it beside the parts.
        image_token: The token that stands for a part of the image; None reads it from config.json.
        preprocess: How an image becomes a tensor, or a tile of it; None reads it from the files beside the encoder.
        tiles: Rows and columns of the tiles into which the image is cut, beside the whole: for Idefics3, SmolVLM and
            InternVL.

    Returns:
        A model for `onnxcam.Explainer`, whose targets are words: ``text="a red star" at=1``.

    Raises:
        ModelError: a part is missing, is no such part, or does not fit the others; the tokenizer, the image's token or
            the prompt is not known.

    Example:
        >>> ex = Explainer(join("llava", prompt="What is this?"))
        >>> ex.each("cat.jpg", target='text="a tabby cat"')
    """
    files = find_files(parts, tokenizer)
    models = {name: load(path) for name, path in files.parts.items()}
    in_one_folder(list(models.values()))
    meeting = find_meeting(models)
    reader = PromptReader(files, image_token)
    words = reader.words(prompt) if meeting.hidden is None else prompt  # an error of the prompt before a run
    if tiles != (1, 1):
        reader.check_tiles()
    encoder = Encoder.of(models["vision"], files.parts["vision"], preprocess, tiles)
    count, width = encoder.measure(meeting.features)
    check_widths(meeting, width)
    asked = replace(
        _asked(reader, meeting, words, count, encoder),
        ends=reader.ends,
        tokenizer=str(files.tokenizer.absolute()),
        parts={name: str(path.absolute()) for name, path in files.parts.items()},
        view=encoder.view.written,
        grid=encoder.grid(count),
    )
    model = joined(meeting, asked)
    Card(task="description", preprocess=encoder.words).put(model)
    asked.put(model.metadata_props)
    return model


def _asked(reader: PromptReader, parts: JoinedParts, words: str | None, count: int, encoder: Encoder) -> Prompting:
    """Return the tokens of the prompt, and of the start of a text."""
    if parts.hidden is None:
        ids = reader.tokens(words or "", count, encoder.view)
        return Prompting(tuple(ids), reader.image, words or "", (), "")
    beginning = Beginning(reader.files)
    if parts.encoder is None:
        ids = beginning.decoder_prompt(words)
        return Prompting(tuple(ids), -1, reader.subwords.written(ids), (), "")
    question = CAPTION if words is None else words
    ids = beginning.encoder_prompt(question, reader.image_or_padding, count)
    return Prompting(tuple(ids), reader.image_or_padding, question, (), "", start=tuple(beginning.start))
