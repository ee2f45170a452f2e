"""Maps from classes to scores, as ZipMap makes them, give way to the scores."""

from __future__ import annotations

from onnxcam.graph.io import load
from tests.zoo.classifiers import NAMES, zipmap


def test_the_scores_and_the_names_are_kept_and_the_file_is_not_changed() -> None:
    proto = zipmap()
    before = proto.SerializeToString()
    model = load(proto)
    assert [y.name for y in model.graph.outputs] == ["classLabel", "s"]
    assert model.metadata_props["names"] == repr(NAMES)
    assert proto.SerializeToString() == before
