"""Decoders of transformers with random weights, exported in three files, as people export them."""

from __future__ import annotations

import json
from collections.abc import Callable
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

    from models.decoder_export import Cached, write_parts

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

    def look(pixels: Any) -> Any:
        found = network.get_image_features(pixels)
        found = getattr(found, "pooler_output", found)
        return found[0] if isinstance(found, list | tuple) else found

    decoder = Cached(network.model.language_model, network.lm_head)
    write_parts(folder, as_module(network, look), {"pixel_values": torch.rand(1, 3, 32, 32)}, decoder)
    return ExportedDecoder(folder, network)


def as_module(network: Any, look: Callable[..., Any]) -> Any:
    """Return a part of *network* as a module: *look* of its inputs."""
    import torch

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *inputs: Any) -> Any:
            return look(*inputs)

    return Encoder().eval()
