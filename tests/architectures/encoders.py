"""Encoders of images: towers of multimodal models, backbones, self-supervised networks."""

from __future__ import annotations

from tests.architectures.classifiers import DINO, PATCHES, RESNET, SMALL, SWIN, TOWER
from tests.architectures.network import SIZE, Maker, network
from tests.optional import torch

POOLED = "pooler_output"
HIDDEN = "last_hidden_state"
MAPS = "feature_maps.0"
NOISE = {"noise": torch.arange(16.0)[None]}
SAM = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "output_channels": 16, "mlp_dim": 64}
SAM |= {"window_size": 2, "global_attn_indexes": [1], **PATCHES}
HIERA = {"hidden_size": 16, "embed_dim_per_stage": [16, 32, 64, 128], "blocks_per_stage": [1, 1, 2, 1]}
HIERA |= {"num_attention_heads_per_stage": [1, 2, 4, 8], "window_size_per_stage": [4, 4, 4, 2]}
HIERA |= {
    "global_attention_blocks": [3],
    "image_size": [SIZE, SIZE],
    "window_positional_embedding_background_size": [4, 4],
}
SAM2 = {"backbone_config": {"model_type": "sam2_hiera_det_model", **HIERA}, "fpn_hidden_size": 16}
SAM2 |= {"backbone_channel_list": [128, 64, 32, 16], "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]]}


def tower(family: str, **settings: object) -> Maker:
    """Return a maker of the vision tower of *family*."""
    return network(f"{family}VisionModel", POOLED, {**TOWER, **settings})


NETWORKS: dict[str, Maker] = {
    "clip": tower("CLIP"),
    "clip_embeds": network("CLIPVisionModelWithProjection", "image_embeds", {**TOWER, "projection_dim": 32}),
    "siglip": tower("Siglip"),
    "trocr_encoder": network("ViTModel", HIDDEN, TOWER),
    "dinov2_model": network("Dinov2Model", POOLED, DINO),
    "dinov2_backbone": network("Dinov2Backbone", MAPS, {**DINO, "out_features": ["stage2"]}),
    "owlvit_vision": tower("OwlViT"),
    "blip_vision": tower("Blip"),
    "groupvit_vision": network(
        "GroupViTVisionModel",
        POOLED,
        {
            **TOWER,
            "depths": [1, 1, 1],
            "num_group_tokens": [8, 4, 0],
            "num_output_groups": [8, 4, 0],
            "num_hidden_layers": 3,
        },
    ),
    "aimv2": network("Aimv2VisionModel", HIDDEN, TOWER),
    "mlcd": network("MLCDVisionModel", HIDDEN, TOWER),
    "git_vision": network("GitVisionModel", HIDDEN, TOWER),
    "kosmos2_vision": network(
        "Kosmos2Model",
        HIDDEN,
        {
            "vision_config": TOWER,
            "text_config": {"vocab_size": 50, "embed_dim": 32, "layers": 1, "ffn_dim": 32, "attention_heads": 2},
        },
        part="vision_model",
    ),
    "idefics3_vision": network("Idefics3VisionTransformer", HIDDEN, TOWER),
    "pixtral_vision": network("PixtralVisionModel", HIDDEN, {**TOWER, "head_dim": 16}),
    "internvl_vision": network(
        "InternVLVisionModel", HIDDEN, {**SMALL, "image_size": [SIZE, SIZE], "patch_size": [16, 16]}
    ),
    "janus_vision": network("JanusVisionModel", HIDDEN, {**SMALL, **PATCHES, "mlp_ratio": 2, "projection_dim": 32}),
    "dinov3_vit": network("DINOv3ViTModel", POOLED, TOWER),
    "vit_mae": network("ViTMAEModel", HIDDEN, {"mask_ratio": 0.0, **TOWER}, **NOISE),
    "vit_mae_pretraining": network(
        "ViTMAEForPreTraining",
        "logits",
        {
            "mask_ratio": 0.5,
            "decoder_hidden_size": 32,
            "decoder_num_hidden_layers": 1,
            "decoder_num_attention_heads": 2,
            "decoder_intermediate_size": 32,
            **TOWER,
        },
        **NOISE,
    ),
    "beit_masked": network("BeitForMaskedImageModeling", "logits", {"vocab_size": 12, **TOWER}),
    "vit_masked": network("ViTForMaskedImageModeling", "reconstruction", TOWER),
    "swin_masked": network("SwinForMaskedImageModeling", "reconstruction", SWIN),
    "flava_image": network("FlavaImageModel", POOLED, TOWER),
    "vitdet": network("VitDetBackbone", MAPS, {**DINO, "window_size": 2, "window_block_indices": [0]}),
    "vitdet_relative": network(
        "VitDetBackbone",
        MAPS,
        {**DINO, "window_size": 2, "window_block_indices": [0], "use_relative_position_embeddings": True},
    ),
    "maskformer_swin": network("MaskFormerSwinBackbone", MAPS, SWIN),
    "convnext_backbone": network(
        "ConvNextBackbone", MAPS, {"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2}
    ),
    "rt_detr_resnet": network("RTDetrResNetBackbone", MAPS, RESNET),
    "vitpose_backbone": network("VitPoseBackbone", MAPS, {**DINO, "image_size": [SIZE, SIZE], "patch_size": [16, 16]}),
    "vitpose_moe": network(
        "VitPoseBackbone",
        MAPS,
        {**DINO, "image_size": [SIZE, SIZE], "patch_size": [16, 16], "num_experts": 2, "part_features": 8},
        dataset_index=torch.tensor([0]),
    ),
    "sam_vision": network("SamVisionModel", HIDDEN, SAM),
    "sam2_vision": network("Sam2VisionModel", HIDDEN, SAM2),
    "hiera_mae": network(
        "HieraModel",
        POOLED,
        {"image_size": [SIZE, SIZE], "embed_dim": 16, "depths": [1, 1, 1], "num_heads": [1, 2, 4], "num_query_pool": 2},
    ),
    "donut_swin": network("DonutSwinModel", HIDDEN, SWIN),
    "x_clip_vision": network(
        "XCLIPVisionModel",
        POOLED,
        {**TOWER, "num_frames": 2, "mit_hidden_size": 32},
        {"pixel_values": (2, 3, SIZE, SIZE)},
    ),
    "superpoint": network(
        "SuperPointForKeypointDetection",
        "0",
        {"encoder_hidden_sizes": [8, 8, 16, 16], "decoder_hidden_size": 16},
        {"input": (1, 1, SIZE, SIZE)},
        part="encoder",
    ),
    "superpoint_descriptors": network(
        "SuperPointForKeypointDetection",
        "",
        {"encoder_hidden_sizes": [8, 8, 16, 16], "decoder_hidden_size": 16, "descriptor_decoder_dim": 16},
        {"encoded": (1, 16, 8, 8)},
        part="descriptor_decoder",
        keypoints=torch.tensor([[[8.0, 20], [40, 12], [50, 33]]]),
    ),
    "pixio": network("PixioModel", POOLED, {**SMALL, **PATCHES}),
}
