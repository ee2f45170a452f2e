"""From image to image: segmentation, depth, pose, matting, super-resolution, matching."""

from __future__ import annotations

from typing import Any

from tests.architectures.classifiers import DINO, FIVE, PATCHES, PYRAMID, QUERIES, RESNET, SMALL, SWIN, TOWER
from tests.architectures.encoders import SAM, SAM2
from tests.architectures.network import PICTURE, SIZE, Maker, network
from tests.optional import torch

STAGES = ["stage1", "stage2", "stage3", "stage4"]
BACKBONE = {"model_type": "resnet", **RESNET, "out_features": STAGES}
PYRAMID_SWIN = {"model_type": "swin", **SWIN, "depths": [1, 1, 1, 1], "num_heads": [2, 2, 2, 2], "out_features": STAGES}
DINO_FOUR = {
    "model_type": "dinov2",
    **DINO,
    "num_hidden_layers": 4,
    "out_features": STAGES,
    "reshape_hidden_states": False,
}
DPT = {"neck_hidden_sizes": [8, 8, 16, 16], "fusion_hidden_size": 8, "backbone_out_indices": [0, 1, 2, 3]}
DPT |= {**TOWER, "num_hidden_layers": 4}
DEPTH = {"backbone_config": DINO_FOUR, "patch_size": 16, "head_hidden_size": 8, "reassemble_hidden_size": 32}
DEPTH |= {"neck_hidden_sizes": [8, 8, 16, 16], "fusion_hidden_size": 8}
MASK2FORMER: dict[str, Any] = {
    "backbone_config": BACKBONE,
    "feature_size": 32,
    "mask_feature_size": 32,
    "hidden_dim": 32,
    "encoder_feedforward_dim": 32,
    "encoder_layers": 1,
    "decoder_layers": 3,
    "dim_feedforward": 32,
    "num_queries": 4,
    "num_attention_heads": 2,
    **FIVE,
}
ONEFORMER: dict[str, Any] = {
    "backbone_config": BACKBONE,
    "conv_dim": 32,
    "mask_dim": 32,
    "hidden_dim": 32,
    "encoder_feedforward_dim": 32,
    "encoder_layers": 1,
    "decoder_layers": 3,
    "dim_feedforward": 32,
    "num_queries": 4,
    "num_attention_heads": 2,
    "task_seq_len": 7,
    **FIVE,
}
MASKFORMER: dict[str, Any] = {
    "backbone_config": BACKBONE,
    "fpn_feature_size": 32,
    "mask_feature_size": 32,
    "decoder_config": {
        "model_type": "detr",
        **QUERIES,
    },
    **FIVE,
}
VITPOSE = {"model_type": "vitpose_backbone", **DINO, "image_size": [SIZE, SIZE], "patch_size": [16, 16]}
PROMPT = {"prompt_encoder_config": {"hidden_size": 16, **PATCHES, "mask_input_channels": 4}}
PROMPT |= {
    "mask_decoder_config": {"hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
}
POINTS = {"input_points": torch.tensor([[[[20.0, 30.0]]]]), "input_labels": torch.tensor([[[1]]])}
SUPERPOINT = {"model_type": "superpoint", "encoder_hidden_sizes": [8, 8, 16, 16], "decoder_hidden_size": 16}
PAIR = {"pixel_values": (1, 2, 3, SIZE, SIZE)}


def segmenter(family: str, **settings: Any) -> Maker:
    """Return a maker of *family*'s semantic segmentation."""
    return network(f"{family}ForSemanticSegmentation", "logits", {**FIVE, **settings})


NETWORKS: dict[str, Maker] = {
    "segformer_segmentation": segmenter("Segformer", decoder_hidden_size=16, **PYRAMID),
    "upernet": segmenter("UperNet", backbone_config=BACKBONE, hidden_size=16, use_auxiliary_head=False),
    "upernet_swin": segmenter("UperNet", backbone_config=PYRAMID_SWIN, hidden_size=16, use_auxiliary_head=False),
    "beit_segmentation": segmenter("Beit", **{**TOWER, "num_hidden_layers": 4}, out_indices=[1, 2, 3, 4], add_fpn=True),
    "mobilevit_deeplab": segmenter(
        "MobileViT",
        image_size=SIZE,
        hidden_sizes=[24, 32, 40],
        neck_hidden_sizes=[8, 8, 16, 24, 32, 40, 64],
        aspp_out_channels=16,
    ),
    "mobilevitv2_deeplab": segmenter("MobileViTV2", image_size=SIZE, width_multiplier=0.25, aspp_out_channels=16),
    "mobilenet_v2_deeplab": segmenter("MobileNetV2", depth_multiplier=0.35, image_size=SIZE),
    "dpt": segmenter("DPT", use_auxiliary_head=False, is_hybrid=False, **DPT),
    "dpt_hybrid": network(
        "DPTForDepthEstimation",
        "predicted_depth",
        {
            **DPT,
            "is_hybrid": True,
            "backbone_featmap_shape": [1, 32, 4, 4],
            "neck_ignore_stages": [0, 1],
            "backbone_config": {
                "model_type": "bit",
                "embedding_size": 8,
                "hidden_sizes": [8, 8, 32],
                "depths": [1, 1, 1],
                "num_groups": 4,
                "layer_type": "bottleneck",
                "global_padding": "same",
                "out_features": ["stage1", "stage2", "stage3"],
                "embedding_dynamic_padding": True,
            },
        },
    ),
    "depth_anything": network("DepthAnythingForDepthEstimation", "predicted_depth", DEPTH),
    "depth_anything_metric": network(
        "DepthAnythingForDepthEstimation",
        "predicted_depth",
        {**DEPTH, "depth_estimation_type": "metric", "max_depth": 20},
    ),
    "prompt_depth_anything": network(
        "PromptDepthAnythingForDepthEstimation",
        "predicted_depth",
        DEPTH,
        {"pixel_values": PICTURE, "prompt_depth": (1, 1, 16, 16)},
    ),
    "zoedepth": network(
        "ZoeDepthForDepthEstimation",
        "predicted_depth",
        {
            "backbone_config": {
                "model_type": "beit",
                **TOWER,
                "num_hidden_layers": 4,
                "out_features": STAGES,
                "reshape_hidden_states": False,
            },
            "neck_hidden_sizes": [8, 8, 16, 16],
            "fusion_hidden_size": 8,
            "bottleneck_features": 8,
            "num_relative_features": 8,
            "num_attractors": [4, 2, 2, 1],
            "bin_embedding_dim": 8,
            "bin_configurations": [{"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0, "name": "nyu"}],
        },
    ),
    "glpn": network("GLPNForDepthEstimation", "predicted_depth", {"decoder_hidden_size": 16, **PYRAMID}),
    "depth_pro": network(
        "DepthProForDepthEstimation",
        "predicted_depth",
        {
            "patch_size": 32,
            "fusion_hidden_size": 8,
            "intermediate_hook_ids": [1, 0],
            "intermediate_feature_dims": [8, 8],
            "scaled_images_ratios": [0.5, 1],
            "scaled_images_overlap_ratios": [0.0, 0.5],
            "scaled_images_feature_dims": [8, 8],
            "use_fov_model": True,
            "num_fov_head_layers": 1,
            **{
                f"{part}_model_config": {"model_type": "dinov2", **DINO, "image_size": 32, "patch_size": 8}
                for part in ("image", "patch", "fov")
            },
        },
    ),
    "vitmatte": network(
        "VitMatteForImageMatting",
        "alphas",
        {
            "backbone_config": {
                "model_type": "vitdet",
                **DINO,
                "num_channels": 4,
                "out_features": ["stage2"],
                "window_size": 2,
            },
            "hidden_size": 32,
            "convstream_hidden_sizes": [8, 8, 16],
            "fusion_hidden_sizes": [16, 16, 8, 8],
        },
        {"pixel_values": (1, 4, SIZE, SIZE)},
    ),
    "vitpose": network(
        "VitPoseForPoseEstimation",
        "heatmaps",
        {
            "backbone_config": VITPOSE,
            **FIVE,
        },
    ),
    "vitpose_classic": network(
        "VitPoseForPoseEstimation",
        "heatmaps",
        {
            "backbone_config": VITPOSE,
            "use_simple_decoder": False,
            **FIVE,
        },
    ),
    "mask2former": network("Mask2FormerForUniversalSegmentation", "masks_queries_logits", MASK2FORMER),
    "mask2former_classes": network("Mask2FormerForUniversalSegmentation", "class_queries_logits", MASK2FORMER),
    "maskformer": network("MaskFormerForInstanceSegmentation", "masks_queries_logits", MASKFORMER),
    "oneformer": network(
        "OneFormerForUniversalSegmentation", "masks_queries_logits", ONEFORMER, task_inputs=torch.ones(1, 7)
    ),
    "eomt": network(
        "EomtForUniversalSegmentation",
        "masks_queries_logits",
        {**DINO, "num_blocks": 1, "num_queries": 4, "num_upscale_blocks": 1, **FIVE},
    ),
    "seggpt": network(
        "SegGptForImageSegmentation",
        "pred_masks",
        {
            **SMALL,
            "image_size": [2 * SIZE, SIZE],
            "patch_size": 16,
            "pretrain_image_size": SIZE,
            "mlp_dim": 64,
            "decoder_hidden_size": 8,
            "intermediate_hidden_state_indices": [0, 1],
            "merge_index": 0,
        },
        {"pixel_values": PICTURE, "prompt_pixel_values": PICTURE, "prompt_masks": PICTURE},
    ),
    "clipseg": network(
        "CLIPSegForImageSegmentation",
        "logits",
        {
            "text_config": {**SMALL, "vocab_size": 50, "max_position_embeddings": 16},
            "vision_config": TOWER,
            "projection_dim": 32,
            "reduce_dim": 16,
            "extract_layers": [0, 1],
            "decoder_num_attention_heads": 2,
            "decoder_intermediate_size": 32,
        },
        input_ids=torch.tensor([[1, 7, 3, 2]]),
        attention_mask=torch.ones(1, 4, dtype=torch.int64),
    ),
    "sam": network("SamModel", "pred_masks", {"vision_config": {**SAM, "num_pos_feats": 8}, **PROMPT}, **POINTS),
    "sam_points": network(
        "SamModel",
        "pred_masks",
        {"vision_config": {**SAM, "num_pos_feats": 8}, **PROMPT},
        {"pixel_values": PICTURE, "input_points": (1, 1, 1, 2)},
        input_labels=torch.tensor([[[1]]]),
    ),
    "sam_hq": network(
        "SamHQModel",
        "pred_masks",
        {
            "vision_config": {**SAM, "num_pos_feats": 8},
            **PROMPT,
            "mask_decoder_config": {**PROMPT["mask_decoder_config"], "vit_dim": 32},
        },
        **POINTS,
    ),
    "sam2": network("Sam2Model", "pred_masks", {"vision_config": SAM2, **PROMPT}, **POINTS),
    "swin2sr": network(
        "Swin2SRForImageSuperResolution",
        "reconstruction",
        {"image_size": SIZE, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 8},
    ),
    "swin2sr_nearest": network(
        "Swin2SRForImageSuperResolution",
        "reconstruction",
        {
            "image_size": SIZE,
            "embed_dim": 16,
            "depths": [1, 1],
            "num_heads": [2, 2],
            "window_size": 8,
            "upsampler": "nearest+conv",
            "upscale": 4,
        },
    ),
    "superglue": network(
        "SuperGlueForKeypointMatching",
        "matching_scores",
        {
            "keypoint_detector_config": {**SUPERPOINT, "descriptor_decoder_dim": 16, "max_keypoints": 4},
            "hidden_size": 16,
            "keypoint_encoder_sizes": [8],
            "gnn_layers_types": ["self", "cross"],
            "num_attention_heads": 2,
            "sinkhorn_iterations": 3,
        },
        PAIR,
    ),
    "efficientloftr": network(
        "EfficientLoFTRModel",
        "feature_maps.0",
        {
            "stage_num_blocks": [1, 1, 1, 1],
            "out_features": [8, 8, 16, 32],
            "stage_stride": [2, 1, 2, 2],
            "hidden_size": 32,
            "num_attention_layers": 1,
            "num_attention_heads": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
        },
        PAIR,
    ),
}
