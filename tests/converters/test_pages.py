"""The pages about converters are true: their Python runs, and so do their commands."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.docs_pages import DOCS, PICTURE, Run, follow
from tests.networks import export
from tests.optional import torch


def two_classes() -> torch.nn.Module:
    torch.manual_seed(0)
    conv = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    return torch.nn.Sequential(conv, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2))


@pytest.fixture
def model(onnxcam: Run) -> Path:
    """A file of another exporter, and an image."""
    import onnx

    onnx.save(export(two_classes(), torch.rand(1, 3, 32, 32)), "model.onnx")
    shutil.copy(PICTURE, "img.jpg")
    return Path("model.onnx")


def test_the_card(model: Path, onnxcam: Run) -> None:
    follow("card.md", onnxcam)
    ran = onnxcam("explain", model, "img.jpg", "--target", "dog")
    assert ran.code == 0
    assert "guess" not in ran.err


def test_from_other_exporters(model: Path, onnxcam: Run) -> None:
    assert {words[1] for words in follow("from-other-exporters.md", onnxcam)} == {"inspect", "explain", "instrument"}


def test_from_pytorch(model: Path, onnxcam: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (DOCS / "from-pytorch.md").read_text("utf-8")
    classes = text[text.index("import torch\n") : text.index("made = ")]
    Path("nets.py").write_text(classes, encoding="utf-8")
    monkeypatch.syspath_prepend(".")
    import nets

    torch.save(nets.Net().state_dict(), "net.pt")
    assert [words[1] for words in follow("from-pytorch.md", onnxcam)] == ["explain", "explain", "export"]
