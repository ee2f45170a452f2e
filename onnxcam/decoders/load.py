"""From the files of a vision-language decoder to one model that every command explains."""

from __future__ import annotations

import os

import onnx_ir as ir

from onnxcam.decoders.encoder import Encoder
from onnxcam.decoders.files import PartsLike, find_files
from onnxcam.decoders.graph import joined
from onnxcam.decoders.meeting import check_widths, find_meeting
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
            there or in its folder ``onnx``), or the files by part, ``"vision"``, ``"embed"`` and ``"decoder"``.
        prompt: The question for the chat template beside the parts, or the whole prompt with ``<image>`` in it.
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
    reader = PromptReader(files, image_token)
    words = reader.words(prompt)
    models = {name: load(path) for name, path in files.parts.items()}
    in_one_folder(list(models.values()))
    meeting = find_meeting(models)
    encoder = Encoder.of(models["vision"], files.parts["vision"], preprocess, tiles)
    count, width = encoder.measure(meeting.features)
    check_widths(meeting, width)
    ids = reader.tokens(words, count, encoder.view)
    asked = Prompting(
        tuple(ids),
        reader.image,
        words,
        reader.ends,
        str(files.tokenizer.absolute()),
        {name: str(path.absolute()) for name, path in files.parts.items()},
        encoder.view.written,
        encoder.grid(count),
    )
    model = joined(meeting, asked)
    Card(task="description", preprocess=encoder.words).put(model)
    asked.put(model.metadata_props)
    return model
