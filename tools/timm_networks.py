"""One network of each module of timm, small and with random weights, for `tools/timm_layers.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from tests.architectures.network import lively

__all__ = ["NETWORKS", "module_of", "size_of", "small"]

_NAMES = """
    beit_base_patch16_224 beitv2_base_patch16_224 botnet26t_256 halonet26t lambda_resnet26t bat_resnext26ts
    mobileone_s0 gernet_s gcresnet33ts cait_xxs24_224 coat_lite_tiny coat_tiny convit_tiny convmixer_768_32
    convnext_atto convnextv2_atto cpubone_nano crossvit_tiny_240 csatv2 cs3darknet_s cspnext_tiny davit_tiny
    deit_tiny_patch16_224 deit_tiny_distilled_patch16_224 deit3_small_patch16_224 densenet121 dla34 dpn48b
    deepseek_vit_412m edgenext_xx_small efficientformer_l1 efficientformerv2_s0 efficientnet_b0 mobilenetv2_050 mixnet_s
    efficientvim_m1 efficientvit_b0 efficientvit_m0 eva02_tiny_patch14_224 fasternet_t0 fastvit_t8 focalnet_tiny_srf
    gcvit_xxtiny gemma4_vit_167m ghostnet_050 ghostnetv2_100 ghostnetv3_050 hardcorenas_a hgnetv2_b0 hiera_tiny_224
    hiera_small_abswin_256 sam2_hiera_tiny hrnet_w18_small iformer_t inception_next_atto inception_resnet_v2
    inception_v3 inception_v4 lcnetv2_small levit_128s levit_conv_128s lowformer_b0 mambaout_femto
    maxvit_rmlp_pico_rw_256 maxxvit_rmlp_nano_rw_256 coatnet_pico_rw_224 maxvit_tiny_tf_224 poolformer_s12
    convformer_s18 caformer_s18 mixer_s32_224 gmlp_ti16_224 resmlp_12_224 mobilenetv3_small_050 lcnet_035
    mobilenetv5_base mobilevit_xxs mobilevitv2_050 mvitv2_tiny mvitv2_small_cls naflexvit_base_patch16_gap
    naflexvit_base_patch16_map nasnetalarge nest_tiny nextvit_small dm_nfnet_f0 nf_resnet26 pit_ti_224
    pit_ti_distilled_224 pnasnet5large pvt_v2_b0 pvt_v2_b2_li qwen3_vit_88m rdnet_tiny regnetx_002 regnety_002
    repghostnet_050 repvit_m0_9 res2net50_14w_8s resnest14d resnet18 seresnet50 resnetv2_50 resnetv2_50x1_bit
    rexnet_100 selecsls42b legacy_seresnet18 sequencer2d_s shvit_s1 skresnet18 starnet_s050 swiftformer_xs
    swin_tiny_patch4_window7_224 swin_s3_tiny_224 swinv2_tiny_window8_256 swinv2_cr_tiny_224 tiny_vit_5m_224
    tnt_s_patch16_224 tresnet_m twins_svt_small twins_pcpvt_small vgg11 visformer_tiny vit_tiny_patch16_224
    vit_base_patch16_siglip_224 vit_medium_patch16_rope_reg1_gap_256 vit_small_patch14_reg4_dinov2
    vit_base_patch32_clip_224 vit_small_r26_s32_224 vit_relpos_small_patch16_224 vit_srelpos_small_patch16_224
    samvit_base_patch16_224 vitamin_small_224 volo_d1_224 ese_vovnet19b_slim legacy_xception xception41
    xcit_nano_12_p16_224
"""
_SETTINGS: dict[str, dict[str, Any]] = {}
"""Settings of `timm.create_model` beside the size of the image."""

_SIZES: dict[str, int] = {
    "halonet26t": 256,
    "bat_resnext26ts": 256,
    "crossvit_tiny_240": 240,
    "csatv2": 224,
    "vgg11": 224,
    **dict.fromkeys(
        ("efficientformer_l1", "levit_conv_128s", "inception_resnet_v2", "inception_v3", "inception_v4"), 224
    ),
    **dict.fromkeys(("efficientvim_m1", "efficientvit_m0", "levit_128s", "selecsls42b", "shvit_s1"), 224),
}
"""Height and width of the image where it is not `_SIZE`."""

_SIZE = 128

NETWORKS = _NAMES.split()


def size_of(name: str) -> int:
    """Return the height and width of the image for the network *name*."""
    return _SIZES.get(name, _SIZE)


def module_of(name: str) -> str:
    """Return the module file of timm that has the network *name*."""
    import timm

    return str(timm.model_entrypoint(name).__module__)


def small(name: str) -> nn.Module:
    """Return the network *name*, lively, with at most two equal blocks one after the other where that works."""
    size = size_of(name)
    for kinds in ((nn.Sequential, nn.ModuleList), (nn.Sequential,), ()):
        network = _shortened(_made(name), kinds)
        try:
            with torch.no_grad():
                network(torch.zeros(1, 3, size, size))
        except Exception:
            continue
        return _livened(network)
    raise RuntimeError(f"{name} takes no image of {size} × {size}")


def _made(name: str) -> nn.Module:
    import timm

    settings = {"pretrained": False, "num_classes": 10, **_SETTINGS.get(name, {})}
    try:
        return timm.create_model(name, img_size=size_of(name), **settings)
    except TypeError:  # takes any size
        return timm.create_model(name, **settings)


def _livened(network: nn.Module) -> nn.Module:
    """Return `lively` with factors near 1 where a factor starts as 1: its name need not be ``weight``."""
    factors = [x for x in network.parameters() if x.ndim < 2 and bool((x == 1).all())]
    lively(network)
    for x in factors:
        x.data = 1 + 0.1 * torch.randn(x.shape)
    return network


def _shortened(network: nn.Module, kinds: tuple[type[nn.Module], ...]) -> nn.Module:
    for blocks in [module for module in network.modules() if isinstance(module, kinds)]:
        for key in list(_repeated(blocks)):
            del blocks[key]
    return network.eval()


def _repeated(blocks: Any) -> Iterator[int]:
    """Yield, from the last one, the index of each block that repeats the two before it."""
    kinds = [(type(block), [tuple(x.shape) for x in block.state_dict().values()]) for block in blocks]
    for place in reversed(range(2, len(kinds))):
        if kinds[place][1] and kinds[place] == kinds[place - 1] == kinds[place - 2]:
            yield place
