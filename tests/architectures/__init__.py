"""Whole vision networks, small and with random weights, against PyTorch autograd: ``python -m tests.architectures``."""

from __future__ import annotations

from tests.architectures import classifiers, dense, detectors, encoders, multimodal
from tests.architectures.network import Maker

NETWORKS: dict[str, Maker] = {
    **classifiers.NETWORKS,
    **encoders.NETWORKS,
    **detectors.NETWORKS,
    **dense.NETWORKS,
    **multimodal.NETWORKS,
}
"""Makers by name."""

FAST = "resnet convnextv2 mobilenet_v2 vit beit dinov2_with_registers swinv2 cvt segformer focalnet".split()
"""Those that the test suite runs."""
