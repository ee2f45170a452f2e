"""Detectors of objects, text and layout."""

from __future__ import annotations

from typing import Any

from tests.architectures.classifiers import DINO, FIVE, PATCHES, QUERIES, RESNET, SMALL, SWIN
from tests.architectures.network import SIZE, Maker, network
from tests.optional import torch

LATE = {"model_type": "resnet", **RESNET, "out_features": ["stage2", "stage3", "stage4"]}
DETR: dict[str, Any] = {
    **QUERIES,
    "backbone_config": LATE,
    **FIVE,
}
RT_DETR: dict[str, Any] = {
    "backbone_config": {**LATE, "model_type": "rt_detr_resnet"},
    "encoder_hidden_dim": 32,
    "d_model": 32,
    "encoder_in_channels": [32, 32, 32],
    "decoder_in_channels": [32, 32, 32],
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "decoder_layers": 1,
    "num_queries": 5,
    "num_denoising": 0,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    **FIVE,
}
HGNET: dict[str, Any] = {
    "model_type": "hgnet_v2",
    "hidden_sizes": [16, 32, 32, 32],
    "stem_channels": [3, 8, 8],
    "stage_in_channels": [8, 16, 32, 32],
    "stage_mid_channels": [8, 8, 16, 16],
    "stage_out_channels": [16, 32, 32, 32],
    "stage_num_blocks": [1, 1, 1, 1],
    "stage_numb_of_layers": [2, 2, 2, 2],
    "out_features": ["stage2", "stage3", "stage4"],
}
WORDS = torch.tensor([[1, 7, 3, 2]])
OPEN = {"text_config": {**SMALL, "vocab_size": 50, "max_position_embeddings": 16}}
OPEN |= {"vision_config": {**SMALL, **PATCHES}, "projection_dim": 32}
BERT = {"model_type": "bert", **SMALL, "vocab_size": 2000, "max_position_embeddings": 32}
LATE_SWIN = {"model_type": "swin", **SWIN, "depths": [1, 1, 1], "num_heads": [2, 2, 2]}
LATE_SWIN |= {"out_features": ["stage1", "stage2", "stage3"]}
DINO_DETR = {**DETR, "num_feature_levels": 3, "max_text_len": 8, "text_config": BERT, "two_stage": True}
LW = {"d_model": 32, "decoder_ffn_dim": 32, "decoder_layers": 1, "decoder_self_attention_heads": 2, "num_queries": 5}
LW |= {"decoder_cross_attention_heads": 2, "group_detr": 1, "decoder_n_points": 2, **FIVE}


def detr(family: str, **settings: Any) -> Maker:
    """Return a maker of a detector of the DETR kind."""
    return network(f"{family}ForObjectDetection", "logits", {**DETR, **settings})


def rt_detr(family: str, output: str = "logits", **settings: Any) -> Maker:
    """Return a maker of a detector of the RT-DETR kind."""
    return network(f"{family}ForObjectDetection", output, {**RT_DETR, **settings})


NETWORKS: dict[str, Maker] = {
    "yolos": network(
        "YolosForObjectDetection",
        "logits",
        {"num_detection_tokens": 5, **FIVE, **SMALL, "image_size": [SIZE, SIZE], "patch_size": 16},
    ),
    "detr": detr("Detr"),
    "detr_segmentation": network(
        "DetrForSegmentation",
        "pred_masks",
        {
            **DETR,
            "d_model": 64,
            "encoder_attention_heads": 8,
            "decoder_attention_heads": 8,
            "backbone_config": {**LATE, "out_features": ["stage1", "stage2", "stage3", "stage4"]},
        },
    ),
    "conditional_detr": detr("ConditionalDetr"),
    "deformable_detr": detr("DeformableDetr", with_box_refine=True, num_feature_levels=3),
    "deformable_detr_two_stage": detr(
        "DeformableDetr", with_box_refine=True, two_stage=True, num_feature_levels=3, two_stage_num_proposals=5
    ),
    "table_transformer": detr("TableTransformer"),
    "dab_detr": network("DabDetrForObjectDetection", "logits", {**DETR, "hidden_size": 32}),
    "rt_detr": rt_detr("RTDetr"),
    "rt_detr_v2": rt_detr("RTDetrV2", decoder_layers=2),
    "rt_detr_v2_discrete": rt_detr("RTDetrV2", decoder_method="discrete", decoder_layers=2),
    "d_fine": rt_detr("DFine", backbone_config=HGNET, decoder_layers=2),
    "d_fine_boxes": rt_detr("DFine", "pred_boxes", backbone_config=HGNET, decoder_layers=2),
    "deimv2": rt_detr("Deimv2", backbone_config=HGNET, decoder_layers=2),
    "pp_doclayout_v3": rt_detr(
        "PPDocLayoutV3",
        backbone_config={**HGNET, "out_features": ["stage1", "stage2", "stage3", "stage4"]},
        mask_feature_channels=[16, 16],
        x4_feat_dim=16,
        num_prototypes=8,
    ),
    "lw_detr": network(
        "LwDetrForObjectDetection",
        "logits",
        {
            **LW,
            "backbone_config": {
                "model_type": "lw_detr_vit",
                **DINO,
                "num_windows": 4,
                "out_indices": [1, 2],
                "window_block_indices": [0],
            },
            "projector_scale_factors": [1.0],
        },
    ),
    "rf_detr": network(
        "RfDetrForObjectDetection",
        "logits",
        {
            **LW,
            "backbone_config": {
                "model_type": "rf_detr_dinov2",
                **DINO,
                "num_windows": 2,
                "out_indices": [1, 2],
                "window_block_indexes": [0],
            },
        },
    ),
    "grounding_dino": network(
        "GroundingDinoForObjectDetection", "logits", DINO_DETR, input_ids=torch.tensor([[101, 7, 3, 1012, 102]])
    ),
    "mm_grounding_dino": network(
        "MMGroundingDinoForObjectDetection", "logits", DINO_DETR, input_ids=torch.tensor([[101, 7, 3, 1012, 102]])
    ),
    "owlvit": network(
        "OwlViTForObjectDetection", "logits", OPEN, input_ids=WORDS, attention_mask=torch.ones_like(WORDS)
    ),
    "owlvit_boxes": network(
        "OwlViTForObjectDetection", "pred_boxes", OPEN, input_ids=WORDS, attention_mask=torch.ones_like(WORDS)
    ),
    "owlv2": network("Owlv2ForObjectDetection", "logits", OPEN, input_ids=WORDS, attention_mask=torch.ones_like(WORDS)),
    "owlv2_objectness": network(
        "Owlv2ForObjectDetection", "objectness_logits", OPEN, input_ids=WORDS, attention_mask=torch.ones_like(WORDS)
    ),
    "owlvit_similarity": network(
        "OwlViTModel", "logits_per_image", OPEN, input_ids=WORDS, attention_mask=torch.ones_like(WORDS)
    ),
    "pp_ocrv5_mobile_det": network("PPOCRV5MobileDetForObjectDetection", "last_hidden_state", {}),
}
