"""Maps of other families than LLaVA: the gradient of torch, whose pictures or patches are cut one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxcam
from onnxcam.decoders.load import join
from onnxcam.metadata.prompting import Prompting
from tests.decoders import families
from tests.decoders.exported import ExportedDecoder

TEXT = "a red star left of blue ring"


@pytest.fixture(scope="module")
def smolvlm(tmp_path_factory: pytest.TempPathFactory) -> ExportedDecoder:
    pytest.importorskip("transformers")
    return families.smolvlm(tmp_path_factory.mktemp("smolvlm"))


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> ExportedDecoder:
    pytest.importorskip("transformers")
    return families.qwen2_vl(tmp_path_factory.mktemp("qwen"))


def sets(x: Any, rows: int, columns: int) -> dict[str, Any]:
    """Return what Idefics3 takes of the picture *x*: its tiles, and the mean of their pixels."""
    import torch

    side = x.shape[2] // rows
    tiles = [x[:, :, r * side :, c * side :][:, :, :side, :side] for r in range(rows) for c in range(columns)]
    whole = [] if len(tiles) == 1 else [torch.nn.functional.avg_pool2d(x, (rows, columns))]
    return {"pixel_values": torch.stack([*tiles, *whole], 1)}


def patches(x: Any) -> dict[str, Any]:
    """Return what Qwen2-VL takes of the picture *x*: patches of 4 × 4, twice in time, in blocks of 2 × 2."""
    import torch

    rows, columns = x.shape[2] // 4, x.shape[3] // 4
    corners = [(r + i, c + j) for r in range(0, rows, 2) for c in range(0, columns, 2) for i in (0, 1) for j in (0, 1)]
    cut = [x[0, :, 4 * r : 4 * r + 4, 4 * c : 4 * c + 4][:, None].expand(3, 2, 4, 4).flatten() for r, c in corners]
    return {"pixel_values": torch.stack(cut), "image_grid_thw": torch.tensor([[1, rows, columns]])}


def given(asked: Prompting, text: list[int]) -> dict[str, Any]:
    """Return the tokens that the network of torch takes."""
    import torch

    prompt, begun = torch.tensor([asked.prompt]), torch.tensor([[*(asked.start or asked.prompt), *text]])
    if asked.start:
        return {"input_ids": prompt, "attention_mask": torch.ones_like(prompt), "decoder_input_ids": begun}
    if asked.image < 0:
        return {"decoder_input_ids": begun}
    kinds = {"mm_token_type_ids": (begun == 3).int()} if asked.view["patch"] else {}
    return {"input_ids": begun, "attention_mask": torch.ones_like(begun), **kinds}


def compare(exported: ExportedDecoder, image: np.ndarray, looks: Any, size: tuple[int, int], **settings: Any) -> None:
    """Assert that maps of a word and of a text, and what the model writes, are those of torch."""
    import torch

    explainer = onnxcam.Explainer(join(exported.folder, **settings), method="gradient")
    task, tensor = explainer.network.task, explainer.prepare(image).tensor
    assert tensor.shape == (1, 3, *size)
    text = list(task.subwords.split(TEXT).ids)
    asked, x = task.prompting, torch.from_numpy(tensor).requires_grad_()
    before = len(asked.start or asked.prompt)
    logits = exported.network(**given(asked, text), **looks(x)).logits[0]
    logs = logits[before - 1 : -1].log_softmax(-1)[range(len(text)), text]
    for target, score in ((f'text="{TEXT}" at=2', logs[2:4].sum()), (f'text="{TEXT}"', logs.sum())):
        (expected,) = torch.autograd.grad(score, x, retain_graph=True)
        raw = explainer.attribute(tensor, target)
        np.testing.assert_allclose(explainer.scores(tensor, target), score.item(), rtol=1e-5)
        assert np.corrcoef(raw.ravel(), expected.numpy().ravel())[0, 1] >= 0.9999
    look = explainer.network.look(tensor, image, {})
    writer = task._text(look)
    for token in text[:2]:
        writer.add(token)
    following = writer.scores()
    np.testing.assert_allclose(following[0], logits[before + 1].detach(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("tiles", [(1, 1), (2, 3)])
def test_smolvlm(smolvlm: ExportedDecoder, image: np.ndarray, tiles: tuple[int, int]) -> None:
    size = 32 * tiles[0], 32 * tiles[1]
    compare(smolvlm, image, lambda x: sets(x, *tiles), size, tiles=tiles)


def test_qwen2_vl(qwen: ExportedDecoder, image: np.ndarray) -> None:
    compare(qwen, image, patches, (32, 48), preprocess="resize=32x48")


@pytest.mark.parametrize("family", ["captioner", "florence"])
def test_cross_attention(family: str, tmp_path: Path, image: np.ndarray) -> None:
    exported = getattr(families, family)(tmp_path)
    compare(exported, image, lambda x: {"pixel_values": x}, (32, 32))
