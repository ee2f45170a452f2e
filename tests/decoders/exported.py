"""Decoders of transformers with random weights, exported in three files, as people export them."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

VOCABULARY = "<pad> <s> </s> <image> [UNK] USER : Assistant a red st ##ar left of blue ring describe ! <fake>".split()
TEMPLATE = (
    "{% for m in messages %}USER: {% for c in m['content'] %}{% if c['type'] == 'image' %}<image> {% else %}"
    "{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %} Assistant:{% endif %}"
)
LAYERS, HEADS, GROUPS, WIDTH, TOKENS = 2, 4, 2, 48, 64


@dataclass(frozen=True)
class ExportedDecoder:
    """A folder with the three parts, and the network that they come from."""

    folder: Path
    network: Any

    def log_probabilities(self, pixels: np.ndarray, prompt: list[int], text: list[int]) -> tuple[Any, Any]:
        """Return the pixels as a tensor that takes a gradient, and log p of each token of *text*, [T]."""
        import torch

        x = torch.from_numpy(pixels).requires_grad_()
        ids = torch.tensor([[*prompt, *text]])
        logits = self.network(input_ids=ids, pixel_values=x, attention_mask=torch.ones_like(ids)).logits[0]
        logs = logits[len(prompt) - 1 : -1].log_softmax(-1)
        return x, logs[range(len(text)), text]


def write_tokenizer(folder: Path) -> None:
    """Write a tokenizer of `VOCABULARY`, with the settings that transformers writes beside it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    made = Tokenizer(models.WordPiece({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.decoder = decoders.WordPiece()
    made.add_special_tokens(["<s>", "</s>", "<image>", "<fake>"])
    made.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"model_type": "llava", "image_token_index": 3, "eos_token_id": 2}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE, "eos_token": "</s>"}))
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "CLIPImageProcessor", "size": {"height": 32, "width": 32}, "crop_size": 32,
                    "image_mean": [0.5] * 3, "image_std": [0.25] * 3, "do_normalize": True, "do_rescale": True})
    )  # fmt: skip


def llava(folder: Path) -> ExportedDecoder:
    """Export a LLaVA of two layers, with a cache."""
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    torch.manual_seed(0)
    encoder = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
    )
    words = LlamaConfig(
        hidden_size=WIDTH, intermediate_size=96, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=GROUPS, vocab_size=TOKENS, max_position_embeddings=128,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=encoder, text_config=words, image_token_index=3, vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )  # fmt: skip
    network = LlavaForConditionalGeneration(config).eval()
    network.set_attn_implementation("eager")
    for weight in network.parameters():  # random weights of usual size say nearly nothing of the image
        weight.data *= 3 if weight.ndim > 1 else 1
    write_tokenizer(folder)
    write_parts(folder, network, _encoder(network), {"pixel_values": torch.rand(1, 3, 32, 32)})
    return ExportedDecoder(folder, network)


def write_parts(folder: Path, network: Any, encoder: Any, looks: dict[str, Any], axes: int = 2) -> None:
    """Export *encoder*, which takes *looks*, the table of embeddings and the decoder of *network*, as transformers.js.

    *axes* is the rank of the positions: 3 where the image has rows and columns.
    """
    import torch

    from models.train_describer import Cached

    cache = [f"{layer}.{kind}" for layer in range(LAYERS) for kind in ("key", "value")]
    past, present = [f"past_key_values.{x}" for x in cache], [f"present.{x}" for x in cache]
    open_axes = {x: {0: "batch", 1: "length"} for x in ("input_ids", "inputs_embeds", "position_ids", "logits")}
    open_axes |= {"position_ids": {axes - 2: "batch", axes - 1: "length"}, "attention_mask": {0: "batch", 1: "total"}}
    open_axes |= {x: {0: "batch", 1: "images"} if "pixel_attention_mask" in looks else {0: "batch"} for x in looks}
    open_axes |= {x: {0: "batch", 2: "past"} for x in past} | {x: {0: "batch", 2: "total"} for x in present}

    def export(module: Any, arguments: tuple[Any, ...], name: str, inputs: list[str], outputs: list[str]) -> None:
        axes = {x: open_axes[x] for x in [*inputs, *outputs] if x in open_axes}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module, arguments, str(folder / f"{name}.onnx"), input_names=inputs, output_names=outputs,
                dynamic_axes=axes, dynamo=False,
            )  # fmt: skip

    tokens = torch.ones(1, 5, dtype=torch.long)
    states = [torch.rand(1, GROUPS, 4, WIDTH // HEADS) for _ in past]
    export(encoder, tuple(looks.values()), "vision_encoder", list(looks), ["image_features"])
    export(network.get_input_embeddings(), (tokens,), "embed_tokens", ["input_ids"], ["inputs_embeds"])
    places = torch.arange(4, 9)[None] if axes == 2 else torch.arange(4, 9).expand(3, 1, 5).clone()
    inputs = torch.rand(1, 5, WIDTH), torch.ones(1, 9, dtype=torch.long), places, *states
    names = ["inputs_embeds", "attention_mask", "position_ids", *past]
    model = network.model
    decoder = Cached(getattr(model, "language_model", None) or model.text_model, network.lm_head)
    export(decoder, inputs, "decoder_model_merged", names, ["logits", *present])


def _encoder(network: Any) -> Any:
    import torch

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixels: Any) -> Any:
            found = self.network.get_image_features(pixels)
            found = getattr(found, "pooler_output", found)
            return found[0] if isinstance(found, list | tuple) else found

    return Encoder().eval()
