"""Maps of other families than LLaVA: the gradient of torch, whose pictures or patches are cut one by one."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxcam
from onnxcam.decoders.files import find_files
from onnxcam.decoders.load import join
from onnxcam.decoders.prompt import PromptReader
from onnxcam.decoders.view import EncoderView
from onnxcam.errors import MethodError, ModelError
from onnxcam.metadata.prompting import Prompting
from tests.decoders import families
from tests.decoders.exported import ExportedDecoder
from tests.decoders.merged import merge

TEXT = "a red star left of blue ring"


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ExportedDecoder]:
    """What exports a family, once each."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")

    @cache
    def made(family: Callable[..., ExportedDecoder], *settings: str) -> ExportedDecoder:
        return family(tmp_path_factory.mktemp(family.__name__), *settings)

    return made


@pytest.fixture(scope="module")
def smolvlm(export: Callable[..., ExportedDecoder]) -> ExportedDecoder:
    return export(families.smolvlm)


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


def compare(
    exported: ExportedDecoder, image: np.ndarray, looks: Any, size: tuple[int, int], **settings: Any
) -> np.ndarray:
    """Assert that maps of a word and of a text, and what the model writes, are those of torch; return the text's."""
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
    for at, token in enumerate(text[:3]):
        np.testing.assert_allclose(writer.scores()[0], logits[before - 1 + at].detach(), rtol=1e-3, atol=1e-4)
        writer.add(token)
    return raw


@pytest.mark.parametrize("tiles", [(1, 1), (2, 3)])
def test_smolvlm(smolvlm: ExportedDecoder, image: np.ndarray, tiles: tuple[int, int]) -> None:
    size = 32 * tiles[0], 32 * tiles[1]
    compare(smolvlm, image, lambda x: sets(x, *tiles), size, tiles=tiles)


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_qwen(kind: str, export: Callable[..., ExportedDecoder], image: np.ndarray) -> None:
    compare(export(families.qwen, kind), image, patches, (32, 48), preprocess="resize=32x48")


def test_internvl(export: Callable[..., ExportedDecoder], image: np.ndarray) -> None:
    def tiles(x: Any) -> dict[str, Any]:
        return {"pixel_values": sets(x, 1, 2)["pixel_values"][0]}

    compare(export(families.internvl), image, tiles, (32, 64), tiles=(1, 2))


def test_captioner(export: Callable[..., ExportedDecoder], image: np.ndarray, tmp_path: Path) -> None:
    exported = export(families.captioner)
    plain = onnxcam.Explainer(join(exported.folder), method="gradient")
    found = plain.attribute(plain.prepare(image).tensor, f'text="{TEXT}"')
    merged = replace(exported, folder=shutil.copytree(exported.folder, tmp_path / "merged"))
    merge(merged.folder, merged.network)
    again = compare(merged, image, lambda x: {"pixel_values": x}, (32, 32))
    np.testing.assert_allclose(found, again, atol=1e-5 * abs(again).max())


def test_florence(export: Callable[..., ExportedDecoder], image: np.ndarray) -> None:
    compare(export(families.florence), image, lambda x: {"pixel_values": x}, (32, 32))


def test_prompt_of_tiles_is_that_of_transformers(smolvlm: ExportedDecoder) -> None:
    """The texts between the tiles are those of the processors of Idefics3 and SmolVLM."""
    processing = pytest.importorskip("transformers.models.smolvlm.processing_smolvlm")
    reader = PromptReader(find_files(smolvlm.folder))
    for rows, columns in ((1, 1), (2, 3)):
        texts = reader._between(EncoderView(64, 64, rows, columns))
        own = (0, 0) if (rows, columns) == (1, 1) else (rows, columns)
        expected = processing.get_image_prompt_string(*own, 4, "<fake_token_around_image>", "<image>", "<global-img>")
        assert ("<image>" * 4).join(texts) == expected


def refused(words: str, exported: ExportedDecoder, **settings: Any) -> None:
    with pytest.raises(ModelError, match=re.escape(words)) as error:
        join(exported.folder, **settings)
    assert "\n" not in str(error.value)


def test_what_is_refused(smolvlm: ExportedDecoder, exported: ExportedDecoder, image: np.ndarray) -> None:
    refused("the tiles of model_type 'llava' in config.json are not known, only those of", exported, tiles=(2, 2))

    def function(picture: np.ndarray) -> np.ndarray:
        return np.zeros((1, 3, 32, 32), np.float32)

    words = "has a function as its preprocessing, so it has no tiles; leave out --tiles"
    refused(words, smolvlm, tiles=(2, 2), preprocess=function)
    explainer = onnxcam.Explainer(join(smolvlm.folder, tiles=(1, 2)), method="legrad")
    with pytest.raises(MethodError, match="legrad has no place in an image that the encoder sees in tiles; use"):
        explainer(image, 'text="star"')


def test_what_is_refused_of_patches(export: Callable[..., ExportedDecoder], tmp_path: Path) -> None:
    made = export(families.qwen, "qwen2_vl")
    exported = replace(made, folder=shutil.copytree(made.folder, tmp_path / "qwen"))
    words = "blocks of 2 × 2, and the image has 36 × 48; both sides are multiples of 8"
    refused(words, exported, preprocess="resize=36x48")
    words = "does not run for an image of 32 × 32 in one picture; give the size of its export with --preprocess"
    refused(words, exported)  # by max_pixels of its preprocessor_config.json
    refused("the tiles of model_type 'qwen2_vl' in config.json are not known", exported, tiles=(2, 2))
    path = exported.folder / "preprocessor_config.json"
    path.write_text(path.read_text().replace('"patch_size": 4', '"patch_size": 5'))
    refused("and not 3 × 2 × 5 × 5 numbers each as preprocessor_config.json says", exported)


def test_what_is_refused_of_encoder_decoders(
    export: Callable[..., ExportedDecoder], tmp_path: Path, image: np.ndarray
) -> None:
    made = export(families.captioner)
    exported = replace(made, folder=shutil.copytree(made.folder, tmp_path / "captioner"))
    explainer = onnxcam.Explainer(join(exported.folder), method="attention-x-gradient")
    with pytest.raises(MethodError, match="and this decoder reads the image by cross-attention; use --method attnlrp"):
        explainer(image, 'text="star"')
    (exported.folder / "config.json").write_text("{}")
    refused("the token with which the decoder starts (decoder_start_token_id); give the first tokens with", exported)
    join(exported.folder, prompt="<s> a")
