"""CLIP and SigLIP of `transformers`, untrained, in one file and in two, against PyTorch; CLIP's tokenizer too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.text_towers.tokenizer import TextTokenizer
from tests.networks import export, saved
from tests.optional import nn, torch
from tests.text_towers.towers import words

pytest.importorskip("tokenizers", reason="the extra onnxcam[text] is not installed")
from tokenizers.pre_tokenizers import ByteLevel

hf = pytest.importorskip("transformers", reason="transformers is not installed")

SMALL = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
LENGTH = 12
KNOWN = {word: i for i, word in enumerate(("?", "<pad>", "a", "red", "blue", "star", "ring", "photo", "of"))}
IDS = KNOWN | {"<start>": 48, "<end>": 49}
TEXT = {**SMALL, "vocab_size": 50, "max_position_embeddings": LENGTH, "eos_token_id": 49, "bos_token_id": 48}
OUTPUTS = ["logits_per_image", "text_embeds", "image_embeds"]
PAIR = ("a photo of a red star", "a blue ring")


class Both(nn.Module):
    """Both towers, with the inputs and outputs that optimum exports."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: torch.Tensor, input_ids: torch.Tensor, attention_mask: Any = None) -> Any:
        found = self.network(pixel_values=pixel_values, input_ids=input_ids, attention_mask=attention_mask)
        return tuple(getattr(found, name) for name in OUTPUTS)


class Towers:
    """A network of transformers, its file of both towers, and one file for each."""

    def __init__(self, family: str, folder: Path) -> None:
        torch.manual_seed(0)
        config = getattr(hf, f"{family}Config")(
            text_config={**TEXT, "pad_token_id": 1},
            vision_config={**SMALL, "image_size": 32, "patch_size": 8},
            projection_dim=32,
        )
        self.network, self.folder = getattr(hf, f"{family}Model")(config).eval(), folder
        self.masked = family == "CLIP"
        ids = torch.full((2, LENGTH), 49)
        examples = (torch.rand(2, 3, 32, 32), ids, torch.ones_like(ids))[: 2 + self.masked]
        names = ["pixel_values", "input_ids", "attention_mask"][: len(examples)]
        axes = {name: {0: "image_batch_size" if name == "pixel_values" else "text_batch_size"} for name in names}
        how = {"dynamo": False, "opset_version": 17, "dynamic_axes": axes if self.masked else {}}  # as optimum's
        model = export(Both(self.network), *examples, input_names=names, output_names=OUTPUTS, **how)
        saved(folder / "both.onnx", model)
        cut = onnx.utils.Extractor(model)
        saved(folder / "image.onnx", cut.extract_model(["pixel_values"], ["image_embeds"]))
        saved(folder / "text.onnx", cut.extract_model(names[1:], ["text_embeds"]))
        padding = {} if self.masked else {"length": LENGTH, "pad_id": 1, "pad_token": "<pad>"}
        words(folder, IDS, **padding)

    def tokens(self, text: str) -> dict[str, torch.Tensor]:
        """Return the inputs of the text tower, of fixed length."""
        ids = [48, *(KNOWN[word] for word in text.split()), 49]
        mask = [1] * len(ids) + [0] * (LENGTH - len(ids))
        ids += [0 if self.masked else 1] * (LENGTH - len(ids))
        return {"input_ids": torch.tensor([ids])} | ({"attention_mask": torch.tensor([mask])} if self.masked else {})

    def gradient(self, x: np.ndarray, like: str, unlike: str) -> tuple[float, np.ndarray]:
        """Return the difference of both cosines and its gradient at the image, by PyTorch."""
        at = torch.from_numpy(x).requires_grad_()
        image = self.network.get_image_features(pixel_values=at)
        image = getattr(image, "pooler_output", image)
        score = 0.0
        for sign, text in ((1, like), (-1, unlike)):
            found = self.network.get_text_features(**self.tokens(text))
            score = score + sign * torch.cosine_similarity(image, getattr(found, "pooler_output", found))
        score.sum().backward()
        return float(score), at.grad.numpy()


@pytest.fixture(scope="module", params=["CLIP", "Siglip"])
def towers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Towers:
    return Towers(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("files", ["one", "two"])
def test_against_pytorch(towers: Towers, files: str) -> None:
    path = towers.folder / ("both.onnx" if files == "one" else "image.onnx")
    options: dict[str, Any] = {} if files == "one" else {"text_model": towers.folder / "text.onnx"}
    own = Explainer(path, method="gradient", preprocess="unit", **options)
    x = np.random.default_rng(0).random((1, 3, 32, 32)).astype(np.float32)
    target = f'like="{PAIR[0]}" unlike="{PAIR[1]}"'
    score, gradient = towers.gradient(x, *PAIR)
    np.testing.assert_allclose(own.scores(x, target), score, atol=1e-5)
    np.testing.assert_allclose(own.attribute(x, target), gradient, atol=1e-3 * np.abs(gradient).max())


@pytest.mark.filterwarnings("ignore")
def test_maps_of_two_texts_differ(towers: Towers) -> None:
    own = Explainer(towers.folder / "both.onnx", preprocess="unit")
    x = np.random.default_rng(0).random((1, 3, 32, 32)).astype(np.float32)
    one, other = (own.attribute(x, f'like="{text}"') for text in PAIR)
    assert one.shape == (1, 4, 4)
    assert np.abs(one - other).max() > 1e-3 * np.abs(one).max() > 0


@pytest.mark.filterwarnings("ignore")
def test_clips_own_files(tmp_path: Path) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789,.!'é"
    alphabet = sorted(ByteLevel.alphabet())
    merges = ["r e", "re d</w>", "s t", "a r</w>", "st ar</w>"]
    tokens = [*alphabet, *(f"{letter}</w>" for letter in alphabet), *("".join(pair.split()) for pair in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    (tmp_path / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    theirs = hf.CLIPTokenizer.from_pretrained(tmp_path)
    own = TextTokenizer.find(None, tmp_path / "text.onnx")
    assert (own.path.name, own.padding, own.size) == ("vocab.json", len(tokens) - 1, len(tokens))
    for text in ("A  red\nSTAR!", "it's 42 stars, né?", letters, "<|endoftext|>"):
        assert list(own(text).ids) == theirs(text)["input_ids"]
