"""Export a vision-language decoder in three files, in the manner of transformers.js: `vision_encoder.onnx`,
`embed_tokens.onnx`, `decoder_model_merged.onnx` with a cache.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

OPSET = 18


class Cached(nn.Module):
    """A decoder as it is exported: with its cache as inputs and outputs."""

    def __init__(self, model: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.model, self.head = model, head

    def forward(self, embeds: Tensor, mask: Tensor, positions: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        """Return logits and the new cache."""
        from transformers.cache_utils import DynamicCache

        cache = DynamicCache()
        for layer in range(len(past) // 2):
            cache.update(past[2 * layer], past[2 * layer + 1], layer)
        found = self.model(
            inputs_embeds=embeds, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        states = [x for layer in found.past_key_values.layers for x in (layer.keys, layer.values)]
        return self.head(found.last_hidden_state), *states


def write_parts(folder: Path, encoder: nn.Module, looks: Mapping[str, Tensor], decoder: Cached, axes: int = 2) -> None:
    """Export *encoder*, which takes *looks*, the *decoder*, and its table of embeddings, to *folder*.

    *axes* is the rank of the positions: 3 where the tokens of the image have rows and columns.
    """
    config = decoder.model.config
    cache = [f"{layer}.{kind}" for layer in range(config.num_hidden_layers) for kind in ("key", "value")]
    past, present = [f"past_key_values.{x}" for x in cache], [f"present.{x}" for x in cache]
    lengths = {x: {0: "batch", 1: "length"} for x in ("input_ids", "inputs_embeds", "logits")}
    lengths |= {"position_ids": {axes - 2: "batch", axes - 1: "length"}, "attention_mask": {0: "batch", 1: "total"}}
    lengths |= {x: {0: "batch", 1: "images"} if "pixel_attention_mask" in looks else {0: "batch"} for x in looks}
    lengths |= {x: {0: "batch", 2: "past"} for x in past} | {x: {0: "batch", 2: "total"} for x in present}

    def export(name: str, module: nn.Module, takes: Mapping[str, Tensor], gives: list[str]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module, tuple(takes.values()), str(folder / f"{name}.onnx"), input_names=list(takes), dynamo=False,
                output_names=gives, dynamic_axes={x: lengths[x] for x in [*takes, *gives] if x in lengths},
                opset_version=OPSET,
            )  # fmt: skip

    size = config.hidden_size // config.num_attention_heads
    positions = torch.arange(4, 9)[None]
    takes = {
        "inputs_embeds": torch.rand(1, 5, config.hidden_size),
        "attention_mask": torch.ones(1, 9, dtype=torch.long),
        "position_ids": positions if axes == 2 else positions.expand(3, 1, 5).clone(),
    }
    takes |= {x: torch.rand(1, config.num_key_value_heads, 4, size) for x in past}
    tokens = {"input_ids": torch.ones(1, 5, dtype=torch.long)}
    export("vision_encoder", encoder, looks, ["image_features"])
    export("embed_tokens", decoder.model.get_input_embeddings(), tokens, ["inputs_embeds"])
    export("decoder_model_merged", decoder, takes, ["logits", *present])
