"""The method attention-x-gradient: equal to a slow replica in torch, and what it needs."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

import onnxcam
from onnxcam.decoders.load import join
from onnxcam.errors import MethodError
from onnxcam.methods import METHODS
from tests.decoders.exported import ExportedDecoder
from tests.networks import hand_model

METHOD = "attention-x-gradient"


def test_only_this_method_needs_words() -> None:
    assert [id for id, method in METHODS.items() if method.needs_words] == [METHOD]


@pytest.mark.parametrize(("at", "places"), [(1, [1]), (2, [2, 3])])
def test_map_is_that_of_a_replica(exported: ExportedDecoder, image: np.ndarray, at: int, places: list[int]) -> None:
    import torch

    explainer = onnxcam.Explainer(join(exported.folder), method=METHOD)
    task, pixels = explainer.network.task, explainer.prepare(image).tensor
    prompt, text = list(task.prompting.prompt), list(task.subwords.split("a red star").ids)
    raw = explainer.attribute(pixels, f'text="a red star" at={at}')

    ids = torch.tensor([[*prompt, *text]])
    found = exported.network(
        input_ids=ids,
        pixel_values=torch.from_numpy(pixels),
        attention_mask=torch.ones_like(ids),
        output_attentions=True,
    )
    rows = [len(prompt) - 1 + place for place in places]
    score = found.logits[0].log_softmax(-1)[rows, [text[place] for place in places]].sum()
    gradients = torch.autograd.grad(score, found.attentions)
    columns = [k for k, token in enumerate(prompt) if token == task.prompting.image]
    expected = np.zeros(len(columns))
    for attention, gradient in zip(found.attentions, gradients, strict=True):
        for row in rows:
            heads = [
                [
                    max(0.0, (attention[0, head, row, column] * gradient[0, head, row, column]).item())
                    for column in columns
                ]
                for head in range(attention.shape[1])
            ]
            expected += np.mean(heads, axis=0)
    assert raw.shape == (1, 4, 4)
    np.testing.assert_allclose(raw.ravel(), expected, rtol=2e-4, atol=1e-5 * expected.max())


def test_models_without_words() -> None:
    with pytest.raises(MethodError, match="explains the words of a vision-language decoder, and the model is none"):
        onnxcam.Explainer(hand_model(), method=METHOD)


def test_fused_attention_has_no_probabilities(folder, image) -> None:
    path = folder / "decoder_model_merged.onnx"
    model = onnx.load(path)
    model.graph.node.append(
        onnx.helper.make_node(
            "MultiHeadAttention", ["inputs_embeds"] * 3, ["unused"], "fused", domain="com.microsoft", num_heads=1
        )
    )
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    added = onnx.helper.make_node("Add", ["inputs_embeds", "unused"], ["with_fused"])
    for each in model.graph.node[:-1]:
        each.input[:] = ["with_fused" if name == "inputs_embeds" else name for name in each.input]
    model.graph.node.insert(0, added)
    model.graph.node.insert(0, model.graph.node.pop())
    onnx.save(model, path)
    joined = join(folder)
    with pytest.raises(MethodError, match=r"needs the attention probabilities, which MultiHeadAttention .* does not"):
        onnxcam.Explainer(joined, method=METHOD)(image, 'text="star"')
    assert onnxcam.Explainer(joined, method="gradient")(image, 'text="star"').raw.any()


def test_tokens_that_make_no_grid(folder, image) -> None:
    config = json.loads((folder / "preprocessor_config.json").read_text())
    assert config["size"] == {"height": 32, "width": 32}
    path = folder / "vision_encoder.onnx"
    model = onnx.load(path)
    first = model.graph.output[0].name
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.arange(11), "kept"))
    model.graph.node.append(onnx.helper.make_node("Gather", [first, "kept"], ["some"]))
    model.graph.output[0].name = "some"
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 11
    onnx.save(model, path)
    with pytest.raises(MethodError, match="the 11 tokens of the image make no grid of its proportions, 32 × 32"):
        onnxcam.Explainer(join(folder), method=METHOD)(image, 'text="star"')


def test_layer_is_one_of_the_encoder(exported: ExportedDecoder, image: np.ndarray) -> None:
    explainer = onnxcam.Explainer(join(exported.folder), method="layercam")
    assert explainer(image, 'text="a star"').raw.shape == (4, 4)
    assert explainer.choice.layer.tensor.startswith("vision.")
