"""The map of a baked file of any task is Python's, and the model's own outputs stay as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.bake.table import PLANS
from onnxcam.errors import TargetError
from onnxcam.targets.image_to_image import ImageToImage
from tests.bake.tasks import baked, flat, run
from tests.zoo.convention import Convention
from tests.zoo.params import without

_OTHERS = ("a classifier", "a detector")
_REFUSED = {
    "superpoint-semi": "the scores in 'semi' cannot be baked: each cell holds several",
    "xfeat": "the scores in 'keypoints' cannot be baked: each cell holds several",
}
_LAYERS = {"dbnet-three-maps": "n"}  # an image may choose another layer than the random one of `bake`


@pytest.mark.parametrize("convention", without(_OTHERS), ids=str)
def test_the_map_is_that_of_python(convention: Convention, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(convention.make(), path)
    for name, text in convention.files.items():
        (tmp_path / name).write_text(text, "utf-8")
    layer = _LAYERS.get(convention.name)
    own = Explainer(path, inputs=convention.inputs, layer=layer)
    network = own.network
    feeds = dict(network.look(network.modality.tensor(convention.image()), None, {}).feeds)
    if convention.name in _REFUSED:
        with pytest.raises(TargetError, match=_REFUSED[convention.name]):
            baked(path, tmp_path, feeds)
        return
    # a baked patch without edges in its middle is explained as a whole: test_run_time_inputs.py
    targets = {convention.target} if isinstance(network.task, ImageToImage) else {"top", convention.target or "top"}
    for target in sorted(targets - {None}):
        _, found = baked(path, tmp_path, feeds, target, layer=layer)
        raw = flat(own, own.attribute(feeds, target))
        np.testing.assert_allclose(found["onnxcam.map"], raw, atol=1e-5 * np.abs(raw).max(), rtol=1e-5)
        for name, value in run(path, feeds).items():
            np.testing.assert_array_equal(found[name].reshape(value.shape), value)  # one image gains an axis of images


@pytest.mark.parametrize("name", ["captioner"])
def test_what_cannot_be_baked_is_refused_with_what_can(name: str, tmp_path: Path) -> None:
    from onnxcam.bake.bake import bake
    from tests.bake.tasks import MODELS

    task = Explainer(MODELS / f"{name}.onnx").network.task
    if type(task) in PLANS:
        pytest.skip(f"{task.name} has a plan")
    with pytest.raises(TargetError, match=r"cannot be baked: `onnxcam explain` explains it; bake an element of an"):
        bake(MODELS / f"{name}.onnx", tmp_path / "b.onnx")
    assert not list(tmp_path.iterdir())
