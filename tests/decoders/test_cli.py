"""``onnxcam explain`` with a decoder: a page of the words, and a sheet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from onnxcam.media import image as pictures
from tests.decoders.exported import ExportedDecoder


@pytest.fixture
def photo(tmp_path: Path, image: np.ndarray) -> Path:
    pictures.write(tmp_path / "photo.png", image)
    return tmp_path / "photo.png"


def test_folder_of_parts(onnxcam, exported: ExportedDecoder, photo: Path) -> None:
    ran = onnxcam(
        "explain", exported.folder, photo, "--target", 'text="a red star, left"', "-m", "gradcam", "-o", "out"
    )
    assert ran.code == 0, ran.err
    assert "prompt: USER: <image> Describe the image. Assistant:" in ran.err
    assert "page: out/words.html" in ran.err
    entries = json.loads(Path("out/manifest.json").read_text(encoding="utf-8"))
    assert [entry["target"]["label"] for entry in entries] == ["a", "red", "star", "left"]
    assert all(entry["probability"] == pytest.approx(np.exp(entry["score"])) for entry in entries)
    page = Path("out/words.html").read_text(encoding="utf-8")
    assert page.count("<button") == 4
    assert "USER: &lt;image&gt; Describe the image." in page
    assert pictures.read(Path("out/photo-words.png")).shape[2] == 3


def test_files_of_parts(onnxcam, exported: ExportedDecoder, photo: Path) -> None:
    names = {"vision": "vision_encoder", "embed": "embed_tokens", "decoder": "decoder_model_merged"}
    parts = [word for part, name in names.items() for word in ("--part", f"{part}={exported.folder / name}.onnx")]
    prompt = ["--prompt", "<image> describe :"]
    ran = onnxcam("explain", *parts, photo, *prompt, "-m", "gradient", "--target", 'text="red ring" at=1', "-o", "out")
    assert ran.code == 0, ran.err
    assert [entry["words"] for entry in json.loads(Path("out/manifest.json").read_text(encoding="utf-8"))] == [
        'text="red ring" at=1'
    ]


def test_options_that_do_not_fit(onnxcam, exported: ExportedDecoder, photo: Path) -> None:
    for words, message in (
        ([exported.folder], "missing argument 'IMAGES...'"),
        ([photo, photo, "--prompt", "what"], "--prompt is for vision-language decoders"),
        ([photo, photo, "--tiles", "2x2"], "--tiles is for vision-language decoders"),
        ([exported.folder, photo, "--tiles", "2by2"], "--tiles takes ROWSxCOLUMNS, such as --tiles 2x3"),
        (["--part", "vision", photo], "--part takes name=value, such as --part vision=vision_encoder.onnx"),
        (["--part", f"vision={exported.folder / 'vision_encoder.onnx'}", photo], "the part 'embed' is missing"),
    ):
        ran = onnxcam("explain", *words)
        assert ran.code == 2
        assert message in " ".join(ran.err.split())
        assert not Path("onnxcam-out").exists()
