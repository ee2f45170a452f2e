"""Draw docs/gallery.md and its pictures: `python -m tools.gallery`, from the networks of the repository.

Each section is a sheet: every method on one picture, and every task of the family. A method that a network does not
admit is left out, as `onnxcam inspect` would say.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import onnxcam
from onnxcam.errors import GuessWarning, OnnxcamError
from onnxcam.explainer.explanation import Explanation
from onnxcam.explainer.sheet import Sheet
from onnxcam.media import image
from onnxcam.media.figure import FigureGrid, FigurePanel
from onnxcam.methods import METHODS
from onnxcam.methods.base import Method

ROOT = Path(__file__).parents[1]
PAGE, IMAGES, ASSETS = ROOT / "docs" / "gallery.md", ROOT / "docs" / "images", ROOT / "onnxcam" / "assets"
SCENE, CLASS = ASSETS / "shapes_1.png", "star"
ELSEWHERE = ["drise", "attention-x-gradient"]
"""Methods of detectors and of decoders, which the classifiers of the gallery do not admit."""
WIDTH = 4
"""Pictures in a row."""
TASKS = {
    "detector": "a detection",
    "segmenter": "a segment",
    "embedder": "likeness to a picture",
    "clip_image": "",
    "keypoints": "a keypoint",
    "captioner": "a word of a caption",
    "answerer": "an answer",
    "upscaler": "a patch, upscaled",
}
WIDE = {"reader": "a letter of read text"}


def main() -> None:
    """Draw the sheets and write the page."""
    warnings.simplefilter("ignore", GuessWarning)
    networks = {"": ASSETS / "shapes.onnx", "transformer": ROOT / "models" / "classifier_vit.onnx"}
    cnn, transformer = networks.values()
    sections = [
        ("Maps of a layer", _layer, cnn, "One pass; the CNN of `onnxcam demo`, its class *star*"),
        ("Maps of pixels", _pixels, cnn, "One pass; the same network and class"),
        ("Many passes", _many, cnn, "Methods that run the network many times; the same network and class"),
        (
            "Transformers",
            _attention,
            transformer,
            "Those that read attention, and two others; `models/classifier_vit.onnx`",
        ),
    ]
    text = HEAD
    for title, wanted, model, words in sections:
        name = f"gallery-{title.lower().replace(' ', '-')}.jpg"
        found = list(_of_methods(model, wanted))
        _draw(name, found, [one.method for one in found])
        text += f"\n## {title}\n\n{words}.\n\n![{', '.join(one.method for one in found)}](images/{name})\n"
    text += "\n## Tasks\n\nOne network of the family each, by the default of its task ([targets](targets.md)).\n"
    for name, tasks in (("gallery-tasks.jpg", TASKS), ("gallery-text.jpg", WIDE)):
        found = list(_of_tasks(tasks))
        titles = [": ".join(filter(None, pair)) for pair in zip(tasks.values(), map(_named, found), strict=True)]
        _draw(name, found, titles)
        text += f"\n![{', '.join(titles)}](images/{name})\n".replace('"', "'")
    text += FOOT
    PAGE.write_text(text, "utf-8")


def _layer(method: Method) -> bool:
    return method.in_graph and not (method.of_pixels or method.needs_attention or method.needs_words)


def _pixels(method: Method) -> bool:
    return method.in_graph and method.of_pixels


def _many(method: Method) -> bool:
    return not method.in_graph and not method.needs_detections


def _attention(method: Method) -> bool:
    return method.needs_attention or method.id in ("gradcam", "attnlrp")


def _of_methods(model: Path, wanted: Callable[[Method], bool]) -> Iterator[Explanation]:
    for method in filter(wanted, METHODS.values()):
        try:
            yield onnxcam.Explainer(model, method=method.id)(SCENE, CLASS)
        except OnnxcamError as error:
            print(f"{method.id} is left out: {error}")


def _named(one: Explanation) -> str:
    return one.label or ("" if "/" in one.words or one.words.startswith("patch") else one.words)


def _of_tasks(names: Iterable[str]) -> Iterator[Explanation]:
    from models.family import HELD_OUT  # needs PyTorch, as training does
    from models.measure import explain_sample
    from models.tasks import task

    for name in names:
        found = task(name)
        with tempfile.TemporaryDirectory() as folder:
            sample = next(iter(found.samples(HELD_OUT, 1)))
            yield explain_sample(onnxcam.Explainer(found.path, **found.options), sample, Path(folder))


def _draw(name: str, found: Sequence[Explanation], titles: Iterable[str]) -> None:
    """Write a sheet of overlays with a title each."""
    panels = [FigurePanel(one.overlay(), title) for one, title in zip(found, titles, strict=True)]
    panels += [FigurePanel(None)] * (-len(panels) % min(WIDTH, len(panels)))
    rows = [panels[start : start + WIDTH] for start in range(0, len(panels), WIDTH)]
    drawn = Sheet(FigureGrid(rows, height=1.8, dpi=110)).image
    (IMAGES / name).write_bytes(image.encode(drawn, Path(name), 80))
    print(f"{name}: {(IMAGES / name).stat().st_size / 1000:.0f} kB")


HEAD = """# Gallery

Drawn by `python -m tools.gallery` with the networks of the repository; each picture is one call of `onnxcam explain`.
Which of them to believe is measured in [Choose a method](choose-a-method.md).
"""
FOOT = """
More pictures are on the pages of [words](words.md), [concepts](concepts.md), [decoders](decoders.md),
[volumes](volumes.md), [signals](signals.md), [videos](video.md), [diagnosis](diagnose.md) and [the browser
page](web.md).
"""

if __name__ == "__main__":
    main()
