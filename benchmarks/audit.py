"""Does `onnxcam audit` name what was planted, and nothing else: ``python benchmarks/audit.py``.

For each seed five worlds of 4 × 400 pictures: a clean one, and one where 5 % of one class carry a mark, a frame, a
caption or a tint that the network takes for the class (models/planted.py). The table for docs/audit.md has the
precision and recall of the pictures in the strongest finding, and the findings beside it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path

from models.planted import KINDS
from models.planted_batch import PlantedWorlds
from onnxcam.auditing.audit import audit

COUNT = 400


def main() -> None:
    """Run all worlds of all seeds; print a line for each, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=COUNT, help="pictures of a class")
    options = parser.parse_args()
    figures: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
    for seed in range(options.first, options.first + options.seeds):
        worlds = PlantedWorlds(seed, options.count)
        for kind in (None, *KINDS):
            with tempfile.TemporaryDirectory() as folder:
                worlds.write(Path(folder) / "batch", kind)
                found = audit(Path(folder) / "batch").findings
            right = [one for one in found if kind and one.label == worlds.plants[kind].label]
            named = set(right[0].ids) if right else set()
            hits = len(named & worlds.planted[kind]) if kind else 0
            precision, recall = (hits / len(named), hits / len(worlds.planted[kind])) if kind and named else (0.0, 0.0)
            figures[kind or "clean"].append((precision, recall, len(found) - bool(right)))
            words = ", ".join(f"{one.kind} {one.cluster} {one.place} ({len(one.ids)})" for one in found)
            print(f"seed {seed} {kind or 'clean'}: precision {precision:.2f} recall {recall:.2f}; {words}", flush=True)
    print(
        "\n| world | named | precision (least) | recall (least) | other findings |\n| --- | ---: | ---: | ---: | ---: |"
    )
    for kind, rows in figures.items():
        precisions, recalls, others = zip(*rows, strict=True)
        named = sum(recall > 0 for recall in recalls)
        means = [f"{sum(one) / len(one):.3f} ({min(one):.3f})" for one in (precisions, recalls)]
        cells = means if kind != "clean" else ["–", "–"]
        print(f"| {kind} | {named}/{len(rows)} | {' | '.join(cells)} | {sum(others)} |")


if __name__ == "__main__":
    main()
