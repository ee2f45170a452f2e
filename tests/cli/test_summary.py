"""What a long run tells: its first result, lines of progress in a pipe, and the summary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onnxcam.cli import summary
from onnxcam.cli.progress_lines import lines, remaining
from onnxcam.progress import quiet


def entry(image: str, probability: float | None, *warnings: str, source: str = "card") -> dict[str, Any]:
    return {
        "image": image,
        "probability": probability,
        "warnings": ["of all", *warnings],
        "method": "gradcam",
        "words": "cat",
        "layer": "conv",
        "target": {"index": 1, "label": "cat"},
        "overlay": f"out/{image}.jpg",
        "raw": "",
        "reading": {"preprocessing": {"value": "unit", "source": source}},
    }


def test_the_summary_says_how_many_where_what_was_guessed_and_what_next() -> None:
    done = [entry("a", 0.9), entry("a", 0.1), entry("b", 0.2), entry("c", None)]
    assert list(summary.of_entries(done, 1200, Path("out"), "net.onnx").lines()) == [
        "done: 3 of 1,200 images, 4 maps, 1,197 left out, by gradcam, in out/",
        "look first at: out/b.jpg (cat): the least probable",
        "next: other methods and layers: onnxcam inspect net.onnx --layers all",
    ]
    done.append(entry("d", 0.9, "its own", source="guess"))
    told = list(summary.of_entries(done, 4, Path("out"), "net.onnx").lines())
    assert told[1:3] == ["guessed: preprocessing (unit)", "look first at: out/d.jpg (cat): it has a warning of its own"]
    assert told[3] == "next: state the preprocessing if the guess is right: -p unit"
    full = "resize=256,crop=224x224,range=0-1,mean=0.5,std=0.5,order=rgb,layout=nhwc"
    done[-1]["reading"]["preprocessing"]["value"] = full
    told = list(summary.of_entries(done, 4, Path("out"), "net.onnx").lines())
    assert (told[1], told[3]) == (
        "guessed: preprocessing (inception)",
        "next: state the preprocessing if the guess is right: -p inception",
    )
    (one, after) = summary.of_entries([entry("a", 0.9)], 1, Path("out"), "net.onnx").lines()
    assert one == "done: 1 of 1 image, by gradcam, in out/"
    assert after.startswith("next: other targets: --top 3; other methods")
    concepts = {**entry("a", None), "concepts": [], "method": "dff"}
    assert [*summary.of_entries([concepts, concepts], 1, Path("out"), "net.onnx").lines()][1:] == [
        "next: fewer or more concepts: --set concepts=3; the same ones in all images: --set together=yes"
    ]


def test_a_pipe_gets_a_line_now_and_then() -> None:
    clock, said = iter(range(0, 1000, 10)), list[str]()
    assert list(lines(range(8), "explaining", 8, said.append, lambda: float(next(clock)))) == list(range(8))
    assert said == ["explaining: 2 of 8, 15.0 s each, 2 min left", "explaining: 5 of 8, 12.0 s each, 36 s left"]
    assert remaining("explaining", 120, 4000, 30) == "explaining: 120 of 4,000, 4.0/s, 16 min left"


def test_a_long_run_tells_of_its_first_result(monkeypatch: pytest.MonkeyPatch) -> None:
    said, done = list[str](), list[dict[str, Any]]()
    monkeypatch.setattr(summary, "LONG", 0.0)
    for item in summary.telling_first(quiet, lambda: summary.first_entry(done), said.append)(range(4), 4):
        if item == 1:
            done.append(entry("a", 0.9))
    assert said == ["first result: out/a.jpg (cat)"]
