"""An image and words: similarity, retrieval, captions, answers, text recognition."""

from __future__ import annotations

from typing import Any

from tests.architectures.classifiers import FIVE, SMALL, SWIN, TOWER
from tests.architectures.network import SIZE, Maker, Network, network
from tests.optional import nn, torch

WORDS = torch.tensor([[1, 7, 3, 2]])
MASK = torch.ones_like(WORDS)
TEXT: dict[str, Any] = {**SMALL, "vocab_size": 50, "max_position_embeddings": 32}
PAIRED: dict[str, Any] = {"text_config": TEXT, "vision_config": TOWER, "projection_dim": 32}
LLAMA = {"model_type": "llama", **SMALL, "num_key_value_heads": 1, "vocab_size": 50}
SEEN = torch.tensor([[1, *[40] * 16, 7, 2]])  # sixteen places for the image
BLIP = {
    "text_config": {**TEXT, "encoder_hidden_size": 32, "bos_token_id": 1, "sep_token_id": 2},
    "vision_config": TOWER,
    "projection_dim": 32,
    "image_text_hidden_size": 16,
}
DECODER = {"vocab_size": 50, "max_position_embeddings": 32, "decoder_layers": 1, "decoder_attention_heads": 2}
DECODER |= {"decoder_ffn_dim": 32, "d_model": 32, "is_decoder": True, "add_cross_attention": True}


def similarity(family: str, *, output: str = "logits_per_image", **settings: Any) -> Maker:
    """Return a maker of *family*'s score of an image against words."""
    return network(f"{family}Model", output, {**PAIRED, **settings}, input_ids=WORDS, attention_mask=MASK)


def reader(encoder: dict[str, Any], decoder: dict[str, Any]) -> Maker:
    """Return a maker of an *encoder* of images and a *decoder* of text."""
    settings = {"encoder": encoder, "decoder": {"is_decoder": True, "add_cross_attention": True, **decoder}}
    return network("VisionEncoderDecoderModel", "logits", settings, decoder_input_ids=WORDS, use_cache=False)


class Patches(nn.Module):
    """Pix2Struct of the pixels of its patches alone: the rows and columns, which stand before them, are constant."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("places", torch.tensor([[[1.0, 1], [1, 2], [2, 1], [2, 2]]]))

    def forward(self, pixels: torch.Tensor) -> Any:
        patches = torch.cat([self.places, pixels], -1)
        mask = torch.ones_like(pixels[..., 0])
        return self.network(patches, attention_mask=mask, decoder_input_ids=WORDS, use_cache=False)


def _pix2struct() -> Network:
    vision = {"hidden_size": 32, "patch_embed_hidden_size": 48, "d_ff": 32, "d_kv": 16, "num_hidden_layers": 2}
    text = {"vocab_size": 50, "hidden_size": 32, "d_kv": 16, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    settings = {"vision_config": {**vision, "num_attention_heads": 2}, "text_config": text}
    whole = network("Pix2StructForConditionalGeneration", "logits", settings)()
    return Network(Patches(whole.module), "logits", {"pixels": (1, 4, 48)})


NETWORKS: dict[str, Maker] = {
    "clip_similarity": similarity("CLIP"),
    "siglip_similarity": similarity("Siglip"),
    "altclip_similarity": similarity("AltCLIP", text_config={**TEXT, "project_dim": 32}),
    "align_similarity": similarity(
        "Align",
        vision_config={"image_size": SIZE, "width_coefficient": 0.25, "depth_coefficient": 0.25, "hidden_dim": 320},
        projection_dim=80,
    ),
    "aimv2_similarity": similarity("Aimv2"),
    "groupvit_similarity": similarity(
        "GroupViT",
        projection_intermediate_dim=32,
        vision_config={**TOWER, "depths": [1, 1, 1], "num_group_tokens": [8, 4, 0], "num_output_groups": [8, 4, 0]},
    ),
    "groupvit_segmentation": network(
        "GroupViTModel",
        "segmentation_logits",
        {
            **PAIRED,
            "projection_intermediate_dim": 32,
            "vision_config": {
                **TOWER,
                "depths": [1, 1, 1],
                "num_group_tokens": [8, 4, 0],
                "num_output_groups": [8, 4, 0],
            },
        },
        input_ids=WORDS,
        attention_mask=MASK,
        output_segmentation=True,
    ),
    "x_clip": network(
        "XCLIPModel",
        "logits_per_video",
        {
            **PAIRED,
            "vision_config": {
                **TOWER,
                "num_frames": 2,
                "mit_hidden_size": 32,
                "mit_intermediate_size": 32,
                "mit_num_attention_heads": 2,
            },
            "prompt_layers": 1,
            "prompt_num_attention_heads": 2,
        },
        {"pixel_values": (1, 2, 3, SIZE, SIZE)},
        input_ids=WORDS,
        attention_mask=MASK,
    ),
    "siglip2_vision": network(
        "Siglip2VisionModel",
        "last_hidden_state",
        {**SMALL, "patch_size": 16, "num_patches": 16},
        {"pixel_values": (1, 16, 768)},
        pixel_attention_mask=torch.ones(1, 16, dtype=torch.int64),
        spatial_shapes=torch.tensor([[4, 4]]),
    ),
    "flava": network(
        "FlavaModel",
        "multimodal_output.last_hidden_state",
        {
            "image_config": TOWER,
            "text_config": TEXT,
            "multimodal_config": SMALL,
            "hidden_size": 32,
            "projection_dim": 32,
            "init_codebook": False,
        },
        input_ids=WORDS,
        attention_mask=MASK,
    ),
    "vilt": network(  # of embedded patches: the image's own pass through a draw, which no exporter writes
        "ViltForQuestionAnswering",
        "logits",
        {"vocab_size": 50, **FIVE, **TOWER},
        {"image_embeds": (1, 16, 32)},
        input_ids=WORDS,
        attention_mask=MASK,
        pixel_mask=torch.ones(1, 16, dtype=torch.int64),
    ),
    "bridgetower": network(
        "BridgeTowerForImageAndTextRetrieval",
        "logits",
        {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "text_config": {**TEXT, "hidden_size": 64},
            "vision_config": {"hidden_size": 64, "num_hidden_layers": 2, "patch_size": 16, "image_size": SIZE},
        },
        input_ids=WORDS,
        attention_mask=MASK,
    ),
    "blip_retrieval": network("BlipForImageTextRetrieval", "itm_score", BLIP, input_ids=WORDS, attention_mask=MASK),
    "blip_caption": network("BlipForConditionalGeneration", "logits", BLIP, input_ids=WORDS, attention_mask=MASK),
    "blip_answer": network(
        "BlipForQuestionAnswering",
        "loss",
        BLIP,
        input_ids=WORDS,
        attention_mask=MASK,
        decoder_input_ids=WORDS,
        labels=WORDS,
    ),
    "blip_similarity": similarity("Blip", text_config=BLIP["text_config"]),
    "blip_2_retrieval": network(
        "Blip2ForImageTextRetrieval",
        "logits_per_image",
        {
            "vision_config": TOWER,
            "qformer_config": {**TEXT, "encoder_hidden_size": 32, "use_qformer_text_input": True},
            "num_query_tokens": 4,
            "image_text_hidden_size": 16,
        },
        input_ids=WORDS,
        attention_mask=MASK,
    ),
    "blip_2": network(
        "Blip2ForConditionalGeneration",
        "logits",
        {
            "vision_config": TOWER,
            "qformer_config": {**SMALL, "encoder_hidden_size": 32, "vocab_size": 50},
            "text_config": {
                "model_type": "opt",
                **SMALL,
                "ffn_dim": 32,
                "vocab_size": 50,
                "word_embed_proj_dim": 32,
                "max_position_embeddings": 32,
            },
            "num_query_tokens": 4,
            "image_token_index": 40,
        },
        input_ids=torch.tensor([[40, 40, 40, 40, 1, 7, 2]]),
        attention_mask=torch.ones(1, 7, dtype=torch.int64),
    ),
    "git": network(
        "GitForCausalLM",
        "logits",
        {**TEXT, "vision_config": TOWER},
        input_ids=WORDS,
        attention_mask=MASK,
        use_cache=False,
    ),
    "pix2struct": _pix2struct,
    "trocr": reader({"model_type": "vit", **TOWER}, {"model_type": "trocr", **DECODER}),
    "trocr_deit": reader({"model_type": "deit", **TOWER}, {"model_type": "trocr", **DECODER}),
    "donut": reader({"model_type": "donut-swin", **SWIN}, {"model_type": "mbart", **DECODER}),
    "vit_gpt2": reader(
        {"model_type": "vit", **TOWER},
        {"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2, "vocab_size": 50},
    ),
    "vit_bert": network(
        "VisionTextDualEncoderModel",
        "logits_per_image",
        {
            "vision_config": {"model_type": "vit", **TOWER},
            "text_config": {"model_type": "bert", **TEXT},
            "projection_dim": 32,
        },
        input_ids=WORDS,
        attention_mask=MASK,
    ),
    "mgp_str": network(
        "MgpstrForSceneTextRecognition",
        "logits.0",
        {
            "image_size": [32, 64],
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_bpe_labels": 9,
            "num_wordpiece_labels": 9,
            "max_token_length": 5,
        },
        {"pixel_values": (1, 3, 32, 64)},
    ),
    "pp_ocrv5_mobile_rec": network(
        "PPOCRV5MobileRecForTextRecognition",
        "last_hidden_state",
        {"head_out_channels": 20},
        {"pixel_values": (1, 3, 96, SIZE)},
    ),
    "layoutlmv3": network(
        "LayoutLMv3ForSequenceClassification",
        "logits",
        {
            **TEXT,
            "input_size": SIZE,
            "patch_size": 16,
            "coordinate_size": 4,
            "shape_size": 8,
            "max_2d_position_embeddings": 64,
            **FIVE,
        },
        input_ids=WORDS,
        attention_mask=MASK,
        bbox=torch.tensor([[[0, 0, 9, 9], [9, 0, 30, 9], [0, 9, 20, 30], [0, 0, 9, 9]]]),
    ),
    "udop": network(
        "UdopForConditionalGeneration",
        "logits",
        {
            "vocab_size": 50,
            "d_model": 32,
            "d_kv": 16,
            "d_ff": 32,
            "num_layers": 1,
            "num_decoder_layers": 1,
            "num_heads": 2,
            "image_size": SIZE,
            "max_2d_position_embeddings": 64,
        },
        input_ids=WORDS,
        attention_mask=MASK,
        bbox=torch.tensor([[[0.0, 0, 0.1, 0.2], [0.3, 0, 0.5, 0.2], [0, 0.4, 0.3, 0.7], [0, 0, 0.1, 0.1]]]),
        decoder_input_ids=WORDS,
        use_cache=False,
    ),
    "tvp": network(
        "TvpForVideoGrounding",
        "logits",
        {
            "backbone_config": {
                "model_type": "resnet",
                "embedding_size": 16,
                "hidden_sizes": [16, 32],
                "depths": [1, 1],
                "layer_type": "basic",
                "out_features": ["stage2"],
            },
            **TEXT,
            "num_frames": 2,
            "visual_prompter_apply": "add",
            "visual_prompt_size": 8,
            "max_img_size": SIZE,
        },
        {"pixel_values": (1, 2, 3, SIZE, SIZE)},
        input_ids=WORDS,
        attention_mask=MASK,
    ),
    "llava": network(
        "LlavaForConditionalGeneration",
        "logits",
        {"vision_config": {"model_type": "clip_vision_model", **TOWER}, "text_config": LLAMA, "image_token_index": 40},
        input_ids=SEEN,
        attention_mask=torch.ones_like(SEEN),
        use_cache=False,
    ),
    "paligemma": network(
        "PaliGemmaForConditionalGeneration",
        "logits",
        {
            "vision_config": {"model_type": "siglip_vision_model", **TOWER, "vision_use_head": False},
            "text_config": {"model_type": "gemma", **SMALL, "num_key_value_heads": 1, "head_dim": 16, "vocab_size": 50},
            "image_token_index": 40,
            "projection_dim": 32,
        },
        input_ids=SEEN,
        attention_mask=torch.ones_like(SEEN),
        use_cache=False,
    ),
    "kosmos2": network(
        "Kosmos2ForConditionalGeneration",
        "logits",
        {
            "vision_config": TOWER,
            "text_config": {
                "vocab_size": 50,
                "embed_dim": 32,
                "layers": 1,
                "ffn_dim": 32,
                "attention_heads": 2,
                "max_position_embeddings": 64,
            },
            "latent_query_num": 4,
        },
        input_ids=torch.tensor([[1, 5, 5, 5, 5, 7, 2]]),
        image_embeds_position_mask=torch.tensor([[0, 1, 1, 1, 1, 0, 0]]),
        attention_mask=torch.ones(1, 7, dtype=torch.int64),
        use_cache=False,
    ),
}
