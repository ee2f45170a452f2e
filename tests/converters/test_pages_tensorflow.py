"""The pages about TensorFlow are true: their Python runs, and so do their commands."""

from __future__ import annotations

import shutil

import pytest

from tests.converters.keras_networks import keras
from tests.docs_pages import PICTURE, Run, follow

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Statistics for quantized inputs were expected"),
]


@pytest.mark.parametrize(
    ("page", "commands"),
    [
        ("from-tensorflow.md", ["explain", "explain", "export"]),
        ("from-tflite.md", ["export", "explain"]),
    ],
)
def test_page(page: str, commands: list[str], onnxcam: Run) -> None:
    shutil.copy(PICTURE, "img.jpg")
    keras.utils.set_random_seed(0)
    assert [words[1] for words in follow(page, onnxcam)] == commands
