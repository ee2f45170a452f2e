"""Well-known public models, for `onnxcam models`: addresses, and what their pages say of them. Nothing is downloaded.

Each entry repeats its sources: the file lists and cards of the hub, and for the ONNX Model Zoo its README (licence,
preprocessing) and its manifest ``ONNX_HUB_MANIFEST.json`` (SHA-256, size). What no source says is None.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from onnxcam.hub.address import HubAddress

__all__ = ["MODELS", "PublicModel", "public_model"]

_ZOO = "hf://onnxmodelzoo/legacy_models:validated/vision/classification/resnet/model"
_ZOO_SOURCE = "github.com/onnx/models: validated/vision/classification/resnet, ONNX_HUB_MANIFEST.json"


@dataclass(frozen=True, kw_only=True)
class PublicModel:
    """A model that others publish.

    Attributes:
        name: The network.
        address: Where it is.
        preprocess: What `--preprocess` needs; None: it is read from the files that come along.
        labels: What `--labels` needs; None: they come along, or are ImageNet's 1,000, which onnxcam has.
        licence: As its page says; None where that does not.
        megabytes: The size of the model's file.
        sha256: Of the model's file.
        source: Where these facts are from.
    """

    name: str
    address: str
    preprocess: str | None = None
    labels: str | None = None
    licence: str | None = None
    megabytes: float
    sha256: str | None = None
    source: str = "the repository's page"

    @property
    def recipe(self) -> str:
        """The command that explains an image."""
        preprocess = f" --preprocess {self.preprocess}" if self.preprocess else ""
        return f"onnxcam explain {self.address} img.jpg{preprocess} -o out"

    def as_dict(self) -> dict[str, Any]:
        """Return the facts and the recipe, for JSON."""
        return {**asdict(self), "recipe": self.recipe}


MODELS = (
    PublicModel(
        name="ResNet-18 v1",
        address=f"{_ZOO}/resnet18-v1-7.onnx",
        preprocess="imagenet",
        licence="Apache-2.0",
        megabytes=46.8,
        sha256="4e8f8653e7a2222b3904cc3fe8e304cd8b339ce1d05fd24688162f86fb6df52c",
        source=_ZOO_SOURCE,
    ),
    PublicModel(
        name="ResNet-50 v2",
        address=f"{_ZOO}/resnet50-v2-7.onnx",
        preprocess="imagenet",
        licence="Apache-2.0",
        megabytes=102.4,
        sha256="79102261eb6e5fd7af5d27f41316293e388c5cb691e5d25bfb035c4f64fefe31",
        source=_ZOO_SOURCE,
    ),
    PublicModel(
        name="ResNet-50 v1, int8 (QDQ)",
        address=f"{_ZOO}/resnet50-v1-12-qdq.onnx",
        preprocess="imagenet",
        licence="Apache-2.0",
        megabytes=25.8,
        sha256="e6429d274805654c79ba68dc886c1efd4eff95393e747c35d3fdab579febd8a0",
        source=_ZOO_SOURCE,
    ),
    PublicModel(name="ResNet-50", address="hf://Xenova/resnet-50:onnx/model.onnx", megabytes=102),
    PublicModel(name="ViT-B/16", address="hf://Xenova/vit-base-patch16-224:onnx/model.onnx", megabytes=347),
    PublicModel(
        name="MobileNetV4 small",
        address="hf://onnx-community/mobilenetv4s-webnn:onnx/model.onnx",
        licence="Apache-2.0",
        megabytes=15.1,
    ),
    PublicModel(
        name="MobileNetV4 large, anti-aliased",
        address="hf://timm/mobilenetv4_conv_aa_large.e230_r448_in12k_ft_in1k:onnx/model.onnx",
        licence="Apache-2.0",
        megabytes=130,
    ),
)
"""The models, by network."""


def public_model(address: HubAddress) -> PublicModel | None:
    """Return the entry with *address*, whatever its revision; None where there is none."""
    return next((one for one in MODELS if one.address == str(HubAddress(address.repository, address.file))), None)
