"""Maps of a joined decoder: the gradient of torch, by word."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import onnxcam
from onnxcam.decoders.load import join
from onnxcam.metadata.prompting import Prompting
from tests.decoders.exported import ExportedDecoder

TEXT = "a red star left of blue ring"


@pytest.fixture(scope="module")
def explainer(exported: ExportedDecoder) -> onnxcam.Explainer:
    return onnxcam.Explainer(join(exported.folder), method="gradient")


def tokens(explainer: onnxcam.Explainer) -> tuple[list[int], list[int]]:
    task = explainer.network.task
    return list(task.prompting.prompt), list(task.subwords.split(TEXT).ids)


@pytest.mark.parametrize(("at", "places"), [(1, [1]), (2, [2, 3]), (6, [7]), (None, range(8))])
def test_map_of_a_word_is_the_gradient_of_torch(explainer, exported, image, at, places) -> None:
    target = f'text="{TEXT}"' + ("" if at is None else f" at={at}")
    pixels = explainer.prepare(image).tensor
    x, logs = exported.log_probabilities(pixels, *tokens(explainer))
    score = logs[list(places)].sum()
    score.backward()
    raw = explainer.attribute(pixels, target)
    assert np.corrcoef(raw.ravel(), x.grad.numpy().ravel())[0, 1] >= 0.99999
    np.testing.assert_allclose(explainer.scores(pixels, target), score.item(), rtol=1e-5)


def test_each_word_has_a_map(explainer, image) -> None:
    found = explainer.each(image, f'text="{TEXT}"')
    assert [one.label for one in found] == TEXT.split()
    assert [one.words for one in found] == [f'text="{TEXT}" at={at}' for at in range(7)]
    whole = explainer(image, f'text="{TEXT}"')
    np.testing.assert_allclose(sum(one.score for one in found), whole.score, rtol=1e-5)
    np.testing.assert_allclose(sum(one.raw for one in found), whole.raw, atol=1e-6 * abs(whole.raw).max())


def test_text_of_the_model_is_that_of_generate(explainer, exported, image) -> None:
    import torch

    pixels, (prompt, _) = torch.from_numpy(explainer.prepare(image).tensor), tokens(explainer)
    ids, written = list(prompt), []
    while len(written) < 48:
        tensor = torch.tensor([ids])
        with torch.no_grad():
            scores = exported.network(input_ids=tensor, pixel_values=pixels).logits[0, -1]
        scores[3] = -torch.inf  # the token of the image
        best = int(scores.argmax())
        if best == 2:
            break
        ids.append(best)
        written.append(best)
    text = explainer.network.task.subwords.decode(written).strip()
    assert explainer(image).note == f"what the model writes, '{text}'"


@pytest.mark.parametrize("method", ["gradcam", "layercam", "integrated-gradients", "gradient-x-input"])
def test_other_methods_explain_words(exported, image, method) -> None:
    settings = {"steps": 4} if method == "integrated-gradients" else {}
    explainer = onnxcam.Explainer(join(exported.folder), method=method, settings=settings)
    found = explainer.each(image, 'text="red ring"')
    assert [one.label for one in found] == ["red", "ring"]
    assert abs(found[0].raw - found[1].raw).max() > 1e-3 * abs(found[0].raw).max()


def test_text_without_the_parts_is_that_with_their_cache(exported, image, tmp_path) -> None:
    model = join(exported.folder)
    with_cache = onnxcam.Explainer(model, method="gradient")(image).label
    asked = Prompting.of(model.metadata_props)
    replace(asked, parts={}).put(model.metadata_props)
    assert onnxcam.Explainer(model, method="gradient")(image).label == with_cache
