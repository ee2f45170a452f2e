"""How often maps of the transformers point right, on many pictures: `python -m models.measure_transformers`.

512 pictures of a seed on which no rule and no setting was chosen, with the 95 % interval of a share (Wilson, 1927).
Writes `docs/truth-transformers.json`, of which `models.truth_page` makes a table of `docs/truth.md`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from models.measure import map_of, points
from models.tasks import task
from models.truth_page import TRANSFORMERS, interval, write_page
from onnxcam import Explainer
from onnxcam.engine import limit_threads

NETWORKS = ("classifier_vit", "classifier_registers")
METHODS = ("attnlrp", "chefer", "legrad", "gradcam")
SEED, COUNT = 41, 512

Found: TypeAlias = dict[str, dict[str, int]]  # by network and method: pictures in which the map points right


def right(name: str) -> dict[str, int]:
    """Return for each method in how many pictures the peak of the map lies on what the target is about."""
    network = task(name)
    samples = list(network.samples(SEED, COUNT))
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for method in METHODS:
            explainer = Explainer(network.path, method=method, provider="cpu", **network.options)
            maps = (map_of(explainer, sample, Path(folder)) for sample in samples)
            found[method] = sum(int(points(heat, s.truth)) for heat, s in zip(maps, samples, strict=True))
            print(name, method, interval(found[method], COUNT), flush=True)
    return found


def main(names: Sequence[str]) -> None:
    """Measure the networks *names* and write the figures and the page."""
    path = TRANSFORMERS
    found: Found = json.loads(path.read_text("utf-8"))["right"] if path.exists() else {}
    found |= {name: right(name) for name in names}
    ordered = {name: found[name] for name in NETWORKS if name in found}
    figures = {"pictures": COUNT, "seed": SEED, "right": ordered}
    path.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    write_page()


if __name__ == "__main__":
    limit_threads(1)
    main(sys.argv[1:] or NETWORKS)
