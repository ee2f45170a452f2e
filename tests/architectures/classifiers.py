"""Classifiers of images and of clips."""

from __future__ import annotations

from typing import Any

from tests.architectures.network import SIZE, Maker, classifier, network

SMALL: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
PATCHES: dict[str, Any] = {"image_size": SIZE, "patch_size": 16}
TOWER: dict[str, Any] = {**SMALL, **PATCHES}
QUERIES = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "num_queries": 5,
}
DINO: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2, **PATCHES}
PYRAMID: dict[str, Any] = {
    "hidden_sizes": [16, 32, 32, 32],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 2, 2, 2],
}
RESNET: dict[str, Any] = {
    "embedding_size": 16,
    "hidden_sizes": [16, 32, 32, 32],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
}
SWIN: dict[str, Any] = {
    "image_size": SIZE,
    "patch_size": 4,
    "embed_dim": 16,
    "depths": [2, 2],
    "num_heads": [2, 2],
    "window_size": 4,
}
FIVE: dict[str, Any] = {"num_labels": 5}
CLIP = {"pixel_values": (1, 2, 3, SIZE, SIZE)}

NETWORKS: dict[str, Maker] = {
    "resnet": classifier("ResNet", **RESNET),
    "convnext": classifier("ConvNext", hidden_sizes=[16, 32], depths=[1, 1], num_stages=2),
    "convnextv2": classifier("ConvNextV2", hidden_sizes=[16, 32], depths=[1, 1], num_stages=2),
    "regnet": classifier("RegNet", embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], groups_width=8),
    "mobilenet_v1": classifier("MobileNetV1", depth_multiplier=0.25, image_size=SIZE),
    "mobilenet_v2": classifier("MobileNetV2", depth_multiplier=0.35, image_size=SIZE),
    "efficientnet": classifier(
        "EfficientNet", image_size=SIZE, width_coefficient=0.5, depth_coefficient=0.25, hidden_dim=640
    ),
    "align_vision": network(
        "AlignVisionModel",
        "pooler_output",
        {"image_size": SIZE, "width_coefficient": 0.25, "depth_coefficient": 0.25, "hidden_dim": 320},
    ),
    "bit": classifier("Bit", embedding_size=32, hidden_sizes=[32, 64], depths=[1, 1], num_groups=8),
    "vit": classifier("ViT", **TOWER),
    "deit": classifier("DeiT", **TOWER),
    "deit_distilled": network("DeiTForImageClassificationWithTeacher", "logits", {**TOWER, **FIVE}),
    "beit": classifier("Beit", **TOWER),
    "beit_relative": classifier(
        "Beit", use_relative_position_bias=True, use_absolute_position_embeddings=True, **TOWER
    ),
    "data2vec_vision": classifier("Data2VecVision", **TOWER),
    "dinov2": classifier("Dinov2", **DINO),
    "dinov2_swiglu": classifier("Dinov2", use_swiglu_ffn=True, **DINO),
    "dinov2_with_registers": classifier("Dinov2WithRegisters", **DINO),
    "ijepa": classifier("IJepa", **TOWER),
    "vit_msn": classifier("ViTMSN", **TOWER),
    "vivit": network(
        "VivitForVideoClassification",
        "logits",
        {**SMALL, **FIVE, "image_size": SIZE, "num_frames": 2, "tubelet_size": [2, 16, 16]},
        CLIP,
    ),
    "swin": classifier("Swin", **SWIN),
    "swinv2": classifier("Swinv2", **SWIN),
    "swiftformer": classifier("SwiftFormer", depths=[1, 1, 1, 1], embed_dims=[16, 24, 32, 40]),
    "cvt": classifier("Cvt", embed_dim=[16, 32, 32], num_heads=[1, 2, 2], depth=[1, 2, 3]),
    "levit": classifier(
        "Levit",
        image_size=SIZE,
        hidden_sizes=[32, 48, 64],
        num_attention_heads=[2, 3, 4],
        depths=[1, 1, 1],
        key_dim=[8, 8, 8],
    ),
    "poolformer": classifier("PoolFormer", hidden_sizes=[16, 32, 32, 32], depths=[1, 1, 1, 1]),
    "pvt": classifier("Pvt", image_size=SIZE, **PYRAMID),
    "pvt_v2": classifier("PvtV2", image_size=SIZE, **PYRAMID),
    "pvt_v2_linear": classifier("PvtV2", image_size=SIZE, linear_attention=True, **PYRAMID),
    "segformer": classifier("Segformer", **PYRAMID),
    "focalnet": classifier(
        "FocalNet", image_size=SIZE, embed_dim=16, depths=[1, 1], focal_levels=[1, 1], focal_windows=[3, 3]
    ),
    "mobilevit": classifier(
        "MobileViT", image_size=SIZE, hidden_sizes=[24, 32, 40], neck_hidden_sizes=[8, 8, 16, 24, 32, 40, 64]
    ),
    "mobilevitv2": classifier("MobileViTV2", image_size=SIZE, width_multiplier=0.25),
    "hiera": classifier(
        "Hiera", image_size=[SIZE, SIZE], embed_dim=16, depths=[1, 1], num_heads=[1, 2], num_query_pool=1
    ),
    "hgnet_v2": classifier("HGNetV2"),
    "textnet": classifier("TextNet"),
    "pp_lcnet": network("PPLCNetForImageClassification", "last_hidden_state", {"scale": 0.25, **FIVE}),
    "clip_classifier": classifier("CLIP", vision_config=TOWER),
    "siglip_classifier": classifier("Siglip", vision_config=TOWER),
    "dinov3_convnext": network("DINOv3ConvNextModel", "pooler_output", {"hidden_sizes": [16, 32], "depths": [1, 1]}),
    "imagegpt": network(
        "ImageGPTForImageClassification",
        "logits",
        {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 33, "n_positions": 16, **FIVE},
        {"inputs_embeds": (1, 16, 32)},
    ),
    "perceiver_fourier": network(
        "PerceiverForImageClassificationFourier",
        "logits",
        {
            "num_latents": 8,
            "d_latents": 32,
            "d_model": 261,
            "num_blocks": 1,
            "num_self_attends_per_block": 1,
            "num_self_attention_heads": 2,
            "num_cross_attention_heads": 1,
            **FIVE,
        },
        {"inputs": (1, 3, 224, 224)},
    ),
    "perceiver_conv": network(
        "PerceiverForImageClassificationConvProcessing",
        "logits",
        {
            "num_latents": 8,
            "d_latents": 32,
            "num_blocks": 1,
            "num_self_attends_per_block": 1,
            "num_self_attention_heads": 2,
            "num_cross_attention_heads": 1,
            **FIVE,
        },
        {"inputs": (1, 3, 224, 224)},
    ),
    "perceiver_learned": network(
        "PerceiverForImageClassificationLearned",
        "logits",
        {
            "num_latents": 8,
            "d_latents": 32,
            "d_model": 512,
            "num_blocks": 1,
            "num_self_attends_per_block": 1,
            "num_self_attention_heads": 2,
            "num_cross_attention_heads": 1,
            "image_size": SIZE,
            **FIVE,
        },
        {"inputs": (1, 3, SIZE, SIZE)},
    ),
    "timesformer": network("TimesformerForVideoClassification", "logits", {"num_frames": 2, **FIVE, **TOWER}, CLIP),
    "videomae": network("VideoMAEForVideoClassification", "logits", {"num_frames": 2, **FIVE, **TOWER}, CLIP),
    "vjepa2": network(
        "VJEPA2ForVideoClassification",
        "logits",
        {
            **DINO,
            "crop_size": SIZE,
            "frames_per_clip": 2,
            "num_pooler_layers": 1,
            "pred_hidden_size": 32,
            "pred_num_attention_heads": 2,
            "pred_num_hidden_layers": 1,
            **FIVE,
        },
        {"pixel_values_videos": (1, 2, 3, SIZE, SIZE)},
    ),
}
