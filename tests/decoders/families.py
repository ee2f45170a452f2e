"""Vision-language decoders of other families than LLaVA, tiny, with random weights, exported as people export them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.decoders.exported import GROUPS, HEADS, LAYERS, TOKENS, WIDTH, ExportedDecoder, as_module, write_tokenizer

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
        _write_three(folder, network, look, looks)
    return ExportedDecoder(folder, network)


def qwen(folder: Path, kind: str = "qwen2_vl") -> ExportedDecoder:
    """Export a Qwen-VL: patches of 4 × 4 pixels in blocks of 2 × 2 and their grid, positions on three axes."""
    import torch
    import transformers

    eye = {"hidden_size": 32, "depth": 2, "num_heads": 2, "intermediate_size": 64, "patch_size": 4}
    eye |= {
        "qwen2_vl": {"embed_dim": 32, "hidden_size": WIDTH, "mlp_ratio": 2},
        "qwen2_5_vl": {"out_hidden_size": WIDTH, "window_size": 16, "fullatt_block_indexes": [1]},
        "qwen3_vl": {"out_hidden_size": WIDTH, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
    }[kind]
    rope = {"rope_type": "default", "mrope_section": [2, 2, 2], "rope_theta": 100.0}
    name = {"qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL", "qwen3_vl": "Qwen3VL"}[kind]
    config = getattr(transformers, f"{name}Config")(
        vision_config=eye, text_config=_WORDS | {"rope_parameters": rope, "head_dim": WIDTH // HEADS},
        image_token_id=3, vision_start_token_id=40, pad_token_id=0,
    )  # fmt: skip
    network = _random(getattr(transformers, f"{name}ForConditionalGeneration")(config))
    write_tokenizer(folder)
    sizes = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2, "min_pixels": 64, "max_pixels": 1024}
    _settings(folder, kind, {"image_processor_type": "Qwen2VLImageProcessor", "size": {}, **sizes})

    def look(patches: Any, grid: Any) -> Any:
        """The encoder, with the places of patches by operators of *grid*: its source has numbers of Python."""
        at, columns = torch.arange(patches.shape[0]), grid[0, 2] // 2
        row, column = at // 4 // columns * 2 + at % 4 // 2, at // 4 % columns * 2 + at % 2
        places = torch.stack([row, column], 1)
        found = network.model.get_image_features(patches, grid, position_ids=places)
        deep = getattr(found, "deepstack_features", None)
        return (found.pooler_output[0], deep[0][0]) if deep else found.pooler_output[0]

    looks = {"pixel_values": torch.rand(96, 96), "image_grid_thw": torch.tensor([[1, 8, 12]])}
    _write_three(folder, network, look, looks, axes=3)
    if kind == "qwen3_vl":
        _write_deep(folder, network, as_module(network, look), looks)
    return ExportedDecoder(folder, network)


def _write_deep(folder: Path, network: Any, encoder: Any, looks: dict[str, Any]) -> None:
    """Export encoder and decoder again, with what DeepStack adds behind the first layer, and without a cache."""
    import torch

    def say(embeds: Any, mask: Any, places: Any, deep: Any) -> Any:
        model = network.model.language_model
        added = model.layers[0].register_forward_hook(lambda layer, given, found: found + deep)
        found = model(inputs_embeds=embeds, attention_mask=mask, position_ids=places, use_cache=False)
        added.remove()
        return network.lm_head(found.last_hidden_state)

    write_part(folder / "vision_encoder.onnx", encoder, looks, "image_features", "deepstack_features_0")
    embeds, tokens = torch.rand(1, 5, WIDTH), torch.ones(1, 5, dtype=torch.long)
    takes = {"inputs_embeds": embeds, "attention_mask": tokens, "position_ids": torch.arange(5).expand(3, 1, 5).clone()}
    takes |= {"deepstack_features_0": embeds}
    write_part(folder / "decoder_model_merged.onnx", as_module(network, say), takes, "logits")


def internvl(folder: Path) -> ExportedDecoder:
    """Export an InternVL: four tokens a tile, by pixel shuffle."""
    import torch
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    eye = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = InternVLConfig(
        vision_config=eye | {"image_size": [32, 32], "patch_size": [8, 8]}, image_token_id=3,
        text_config=_WORDS | {"model_type": "qwen2"},
    )  # fmt: skip
    network = _random(InternVLForConditionalGeneration(config))
    write_tokenizer(folder)
    _settings(folder, "internvl", {"size": {"height": 32, "width": 32}})

    def look(pixels: Any) -> Any:
        return network.model.get_image_features(pixels).pooler_output

    _write_three(folder, network, look, {"pixel_values": torch.rand(2, 3, 32, 32)})
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


def _write_three(folder: Path, network: Any, look: Callable[..., Any], looks: dict[str, Any], axes: int = 2) -> None:
    from models.decoder_export import Cached, write_parts

    model = getattr(network.model, "language_model", None) or network.model.text_model
    write_parts(folder, as_module(network, look), looks, Cached(model, network.lm_head), axes)


def captioner(folder: Path) -> ExportedDecoder:
    """Export a VisionEncoderDecoder, as TrOCR and ViT-GPT2 are, in the two files of optimum: a ViT and a GPT-2."""
    import torch
    from transformers import GPT2Config, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

    eye = ViTConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
    )
    words = GPT2Config(
        n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, vocab_size=TOKENS, n_positions=64, bos_token_id=1, eos_token_id=2
    )
    network = _random(VisionEncoderDecoderModel(VisionEncoderDecoderConfig.from_encoder_decoder_configs(eye, words)))
    write_tokenizer(folder)
    _settings(folder, "vision-encoder-decoder", {"size": {"height": 32, "width": 32}})
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decoder_start_token_id": 1}))

    def look(pixels: Any) -> Any:
        found = network.encoder(pixels).last_hidden_state
        return network.enc_to_dec_proj(found) if hasattr(network, "enc_to_dec_proj") else found

    def say(ids: Any, states: Any) -> Any:
        mask = torch.ones_like(ids)
        return network.decoder(ids, attention_mask=mask, encoder_hidden_states=states, use_cache=False).logits

    reads = {"input_ids": torch.ones(1, 5, dtype=torch.long), "encoder_hidden_states": torch.rand(1, 17, WIDTH)}
    for name, part, takes, gives in (
        ("encoder_model", look, {"pixel_values": torch.rand(1, 3, 32, 32)}, "last_hidden_state"),
        ("decoder_model", say, reads, "logits"),
    ):
        write_part(folder / f"{name}.onnx", as_module(network, part), takes, gives)
    return ExportedDecoder(folder, network)


def florence(folder: Path) -> ExportedDecoder:
    """Export a Florence-2 in the four files of transformers.js: a DaViT, and a BART that reads image and question."""
    import torch
    from transformers import Florence2Config, Florence2ForConditionalGeneration

    eye = {
        "depths": [1, 1], "embed_dim": [16, 32], "num_heads": [2, 2], "num_groups": [2, 2], "window_size": 4,
        "patch_size": [7, 3], "patch_stride": [4, 2], "patch_padding": [3, 1], "patch_prenorm": [False, True],
        "projection_dim": WIDTH, "max_temporal_embeddings": 4, "max_position_embeddings": 8,
    }  # fmt: skip
    words = {
        "model_type": "bart", "d_model": WIDTH, "encoder_layers": 1, "decoder_layers": LAYERS, "vocab_size": TOKENS,
        "encoder_attention_heads": HEADS, "decoder_attention_heads": HEADS, "encoder_ffn_dim": 64, "pad_token_id": 0,
        "decoder_ffn_dim": 64, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2,
        "decoder_start_token_id": 2, "forced_bos_token_id": 1,
    }  # fmt: skip
    config = Florence2Config(vision_config=eye, text_config=words, image_token_id=3)
    network = _random(Florence2ForConditionalGeneration(config))
    write_tokenizer(folder)
    _settings(folder, "florence2", {"size": {"height": 32, "width": 32}})
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"text_config": words}))
    bart = network.model.language_model

    def look(pixels: Any) -> Any:
        return network.model.get_image_features(pixels).pooler_output

    def read(embeds: Any, mask: Any) -> Any:
        return bart.encoder(inputs_embeds=embeds, attention_mask=mask).last_hidden_state

    def say(mask: Any, states: Any, embeds: Any) -> Any:
        given = {"encoder_hidden_states": states, "encoder_attention_mask": mask, "use_cache": False}
        return network.lm_head(bart.decoder(inputs_embeds=embeds, **given).last_hidden_state)

    tokens, embeds = torch.ones(1, 5, dtype=torch.long), torch.rand(1, 5, WIDTH)
    reads = {"encoder_attention_mask": tokens, "encoder_hidden_states": embeds, "inputs_embeds": embeds[:, :4]}
    write_part(folder / "embed_tokens.onnx", network.get_input_embeddings(), {"input_ids": tokens}, "inputs_embeds")
    for name, part, takes, gives in (
        ("vision_encoder", look, {"pixel_values": torch.rand(1, 3, 32, 32)}, "image_features"),
        ("encoder_model", read, {"inputs_embeds": embeds, "attention_mask": tokens}, "last_hidden_state"),
        ("decoder_model", say, reads, "logits"),
    ):
        write_part(folder / f"{name}.onnx", as_module(network, part), takes, gives)
    return ExportedDecoder(folder, network)


def write_part(path: Path, module: Any, takes: dict[str, Any], *gives: str) -> None:
    """Export *module* with open lengths of tokens."""
    import torch

    axes = {x: {0: "batch"} | ({1: f"{x}.length"} if value.ndim < 4 else {}) for x, value in takes.items()}
    axes |= {"position_ids": {2: "length"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, tuple(takes.values()), str(path), input_names=list(takes), output_names=list(gives),
            dynamic_axes=axes, dynamo=False,
        )  # fmt: skip
