"""What does not fit together, or is missing: one line that says what, where and what to do."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxcam as library
from onnxcam.decoders.load import join
from onnxcam.errors import ModelError, TargetError

PARTS = {"vision": "vision_encoder.onnx", "embed": "embed_tokens.onnx", "decoder": "decoder_model_merged.onnx"}


def refused(words: str, *arguments: object, **settings: object) -> None:
    with pytest.raises(ModelError, match=re.escape(words)) as error:
        join(*arguments, **settings)
    assert "\n" not in str(error.value)


def test_missing_part(folder: Path) -> None:
    (folder / PARTS["embed"]).unlink()
    refused("there is decoder_model_merged.onnx, vision_encoder.onnx; give --part embed=FILE", folder)
    refused("the part 'decoder' is missing; give --part decoder=FILE, or the folder that holds all parts",
            {"vision": folder / PARTS["vision"], "embed": folder / PARTS["vision"]})  # fmt: skip
    refused("there is no such folder of parts; check the name", folder / "none")


def test_several_files_of_a_part(folder: Path) -> None:
    (folder / PARTS["embed"]).rename(folder / "embed_tokens_q4.onnx")
    join(folder)
    shutil.copy(folder / "embed_tokens_q4.onnx", folder / "embed_tokens_fp16.onnx")
    refused("has several files of the part 'embed': there is embed_tokens_fp16.onnx, embed_tokens_q4.onnx;", folder)
    join({"folder": folder, "embed": folder / "embed_tokens_q4.onnx"})


def test_unknown_part(folder: Path) -> None:
    refused("there is no part 'visoin'; the parts are vision, embed, encoder, decoder", {"visoin": folder})


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("vision", "the part 'vision' is no encoder of images [N, C, H, W], sets of images [N, K, C, H, W] or patches"),
        ("embed", "the part 'embed' is not a table of embeddings, from tokens [N, L] to [N, L, H]"),
        ("decoder", "the part 'decoder' is not a decoder, from embeddings [N, L, H] to scores [N, L, V]"),
    ],
)
def test_model_that_is_no_such_part(folder: Path, part: str, words: str) -> None:
    other = folder / PARTS["embed" if part != "embed" else "vision"]
    refused(words, {"folder": folder, part: other})


def test_parts_of_different_widths(folder: Path) -> None:
    _embeddings(folder / PARTS["embed"], 32)
    refused("the width of the embeddings is 'vision' 48, 'embed' 32, 'decoder' 48; give parts of one export", folder)


def _embeddings(path: Path, width: int) -> None:
    """Write a table of embeddings of *width*."""
    types, make = onnx.TensorProto, onnx.helper
    table = onnx.numpy_helper.from_array(np.zeros((64, width), np.float32), "table")
    x = make.make_tensor_value_info("input_ids", types.INT64, ["n", "l"])
    y = make.make_tensor_value_info("inputs_embeds", types.FLOAT, ["n", "l", width])
    graph = make.make_graph(
        [make.make_node("Gather", ["table", "input_ids"], ["inputs_embeds"])], "g", [x], [y], [table]
    )
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=8), path)


def test_input_of_unknown_meaning(folder: Path) -> None:
    model = onnx.load(folder / PARTS["decoder"])
    model.graph.input.append(onnx.helper.make_tensor_value_info("beams", onnx.TensorProto.INT64, [1]))
    onnx.save(model, folder / PARTS["decoder"])
    refused("the part 'decoder' has an input 'beams' [1] of unknown meaning; known are attention_mask,", folder)


def test_cache_of_fixed_length(folder: Path) -> None:
    model = onnx.load(folder / PARTS["decoder"])
    state = next(x for x in model.graph.input if x.name == "past_key_values.0.key")
    state.type.tensor_type.shape.dim[2].dim_value = 64
    onnx.save(model, folder / PARTS["decoder"])
    refused("takes a cache 'past_key_values.0.key' [batch,2,64,12] of fixed length;", folder)


def test_other_number_of_image_tokens(folder: Path) -> None:
    refused("has 3 tokens of the image, but the encoder gives 16 embeddings;", folder, prompt="<image>" * 3)
    join(folder, prompt="<image>" * 16)


def test_no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "words.json")
    refused("there is no tokenizer.json beside the parts, nor one folder above; give it with --tokenizer", folder)
    join(folder, tokenizer=folder / "words.json")
    (folder / "words.json").write_text("{}")
    refused("words.json: is no tokenizer that the library tokenizers reads", folder, tokenizer=folder / "words.json")


def test_no_library_of_tokenizers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    refused("the package tokenizers, which is not installed; pip install 'onnxcam[text]'", folder)


def test_no_template_and_no_token_of_the_image(folder: Path) -> None:
    (folder / "tokenizer_config.json").unlink()
    refused("there is no chat template beside the decoder, so give the whole prompt with <image> in it", folder)
    (folder / "config.json").write_text("{}")
    assert join(folder, prompt="USER: <image>") is not None  # by the name of the token
    words = json.loads((folder / "tokenizer.json").read_text().replace("<image>", "<seen>"))
    (folder / "tokenizer.json").write_text(json.dumps(words))
    refused("tells the token of an image; give it with --image-token (image_token=)", folder, prompt="USER: <image>")
    refused("the tokenizer has no token '<look>'", folder, prompt="<image>", image_token="<look>")
    join(folder, prompt="USER: <image>", image_token="<seen>")


def test_template_that_fails(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] + 1 }}")
    refused("the chat template fails:", folder)


def test_template_that_takes_no_question(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("USER: <image> ASSISTANT:")
    join(folder)
    refused("the chat template beside the decoder takes no question; leave out --prompt", folder, prompt="Why <imag>?")


def test_texts_without_words(folder: Path, image: np.ndarray) -> None:
    explainer = library.Explainer(join(folder), method="gradient")
    for target, words in (
        ('text=""', "there is no word in the text ''; name some with text=…"),
        ('text="..."', "there is no word in the text '...'"),
        ('text="a star" at=2', "text 'a star' has no word 2; there are 2, counted from 0"),
        ('text="a zebra"', "the tokenizer does not know the word 'zebra'; name another one"),
        ('text="a <image>"', "the text 'a <image>' holds the token of the image; leave it out"),
    ):
        with pytest.raises(TargetError, match=re.escape(words)):
            explainer(image, target)
