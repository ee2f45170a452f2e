"""The pages about converters are true: their Python runs, and so do their commands."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
import torch

from tests.conftest import Ran
from tests.networks import export

Run = Callable[..., Ran]
DOCS = Path(__file__).parents[2] / "docs"
PICTURE = Path(str(resources.files("onnxcam") / "assets" / "shapes_1.png"))


def follow(page: str, onnxcam: Run) -> list[list[str]]:
    """Do what *page* says, in order, in the current folder; return the commands that were run."""
    ran, scope = [], {"__name__": page}
    for kind, block in re.findall(r"^```(\w*)\n(.*?)^```$", (DOCS / page).read_text("utf-8"), re.MULTILINE | re.DOTALL):
        if kind == "python":
            exec(compile(block, page, "exec"), scope)
            continue
        for line in block.splitlines():
            words = shlex.split(line)
            if words[0] == "onnxcam":
                done = onnxcam(*words[1:])
                assert done.code == 0, f"{page}: {line}: {done.err}"
                ran.append(words)
    return ran


def two_classes() -> torch.nn.Module:
    torch.manual_seed(0)
    conv = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    return torch.nn.Sequential(conv, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2))


@pytest.fixture
def model(onnxcam: Run) -> Path:
    """A file of another exporter, and a picture."""
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
    Path("nets.py").write_text(classes)
    monkeypatch.syspath_prepend(".")
    import nets

    torch.save(nets.Net().state_dict(), "net.pt")
    assert [words[1] for words in follow("from-pytorch.md", onnxcam)] == ["explain", "explain", "export"]
