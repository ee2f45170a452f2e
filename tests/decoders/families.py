"""Vision-language decoders of other families than LLaVA, tiny, with random weights, exported as people export them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.decoders.exported import GROUPS, HEADS, LAYERS, TOKENS, WIDTH, ExportedDecoder, write_parts, write_tokenizer

_WORDS = {
    "hidden_size": WIDTH, "intermediate_size": 96, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "num_key_value_heads": GROUPS, "vocab_size": TOKENS, "max_position_embeddings": 256, "pad_token_id": 0,
}  # fmt: skip


def smolvlm(folder: Path) -> ExportedDecoder:
    """Export a SmolVLM: images in sets [N, K, C, H, W] with a mask of pixels, four tokens a view."""
    import torch
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration

    eye = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Idefics3Config(
        vision_config=eye | {"image_size": 32, "patch_size": 8}, text_config=_WORDS | {"model_type": "llama"},
        image_token_id=3, scale_factor=2, pad_token_id=0,
    )  # fmt: skip
    network = _random(Idefics3ForConditionalGeneration(config))
    write_tokenizer(folder)
    _settings(folder, "smolvlm", {"image_processor_type": "SmolVLMImageProcessor", "size": {"longest_edge": 32}})
    sets = torch.rand(1, 2, 3, 32, 32), torch.ones(1, 2, 32, 32, dtype=torch.bool)

    def look(pixels: Any, mask: Any) -> Any:
        """The encoder without pictures that are padding; its source says this by Tensor.unfold, which has no export."""
        own = (pixels != 0).flatten(2).any(-1).flatten()
        patches = mask.flatten(0, 1)[own].unflatten(1, (4, 8)).unflatten(3, (4, 8)).any(4).any(2)
        found = network.model.vision_model(pixel_values=pixels.flatten(0, 1)[own], patch_attention_mask=patches)
        return network.model.connector(found.last_hidden_state)

    with patch.object(torch, "full", lambda size, fill_value, **to: torch.zeros(size, dtype=torch.long)):  # not float
        looks = dict(zip(("pixel_values", "pixel_attention_mask"), sets, strict=True))
        write_parts(folder, network, _encoder(network, look), looks)
    return ExportedDecoder(folder, network)


def qwen2_vl(folder: Path) -> ExportedDecoder:
    """Export a Qwen2-VL: patches of 4 × 4 pixels in blocks of 2 × 2 and their grid, positions on three axes."""
    import torch
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    eye = {"embed_dim": 32, "hidden_size": WIDTH, "depth": 2, "num_heads": 2, "mlp_ratio": 2, "patch_size": 4}
    rope = {"rope_type": "default", "mrope_section": [2, 2, 2], "rope_theta": 100.0}
    config = Qwen2VLConfig(
        vision_config=eye, text_config=_WORDS | {"rope_parameters": rope}, image_token_id=3, vision_start_token_id=40,
        pad_token_id=0,
    )  # fmt: skip
    network = _random(Qwen2VLForConditionalGeneration(config))
    write_tokenizer(folder)
    sizes = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2, "min_pixels": 64, "max_pixels": 1024}
    _settings(folder, "qwen2_vl", {"image_processor_type": "Qwen2VLImageProcessor", "size": {}, **sizes})

    def look(patches: Any, grid: Any) -> Any:
        return network.model.get_image_features(patches, grid).pooler_output[0]

    looks = {"pixel_values": torch.rand(96, 96), "image_grid_thw": torch.tensor([[1, 8, 12]])}
    write_parts(folder, network, _encoder(network, look), looks, axes=3)
    return ExportedDecoder(folder, network)


def _random(network: Any) -> Any:
    """Return *network* with weights of three times the usual size: those say nearly nothing of the image."""
    network = network.eval()
    network.set_attn_implementation("eager")
    for weight in network.parameters():
        weight.data *= 3 if weight.ndim > 1 else 1
    return network


def _settings(folder: Path, kind: str, processor: dict[str, Any]) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": kind}))
    path = folder / "preprocessor_config.json"
    own = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "do_normalize": True, "do_rescale": True}
    path.write_text(json.dumps(own | processor))


def _encoder(network: Any, look: Callable[..., Any]) -> Any:
    """Return the encoder of *network* as a module: *look* of its inputs."""
    import torch

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *inputs: Any) -> Any:
            return look(*inputs)

    return Encoder()
