"""Compare the maps with the peers' on the same networks and weights: ``python benchmarks/agreement.py [--here]``.

It writes the tables of docs/agreement.md, one for each peer: the correlation of what `attribute` returns with the
peer's map. `maps.py`, `maps_*.py` and `papers.py` say who is compared with whom, and how each peer is called.
With ``--method`` only the rows of these methods are measured, and the other rows stay; so the page can be measured in
pieces. ``--new`` leaves out the rows that the page has.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import logging
import re
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import environment

if TYPE_CHECKING:
    from maps import Row

PAGE = Path(__file__).parents[1] / "docs" / "agreement.md"
TABLE = "| method | peer | network | correlation |\n|---|---|---|---:|"


def main(options: argparse.Namespace) -> None:
    """Measure the rows that are asked for, and write each into the page."""
    import maps

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    for peer, rows in every_row().items():
        title, labels = f"{peer} {maps.version(peer)}".strip(), [label(row) for row in rows]
        text = PAGE.read_text("utf-8")
        for row in rows:
            if options.method and row.method not in options.method:
                continue
            if options.new and label(row) in text:
                continue
            line = f"{label(row)}{correlation(row):.6f} |"
            print(f"{title} {line}", flush=True)
            PAGE.write_text(updated(PAGE.read_text("utf-8"), peer, title, line, labels), "utf-8")


def every_row() -> dict[str, list[Row]]:
    """Return the rows of each peer, in the order of the page."""
    import maps
    import maps_concepts
    import maps_saliency
    import maps_zennit
    import papers

    concepts = {"pytorch-grad-cam": [*maps.PEERS["pytorch-grad-cam"], *maps_concepts.ROWS]}
    return {**maps.PEERS, **concepts, **maps_zennit.PEERS, **maps_saliency.PEERS, **papers.PEERS}


def label(row: Row) -> str:
    """Return the start of the row in its table, which no other row there has."""
    method = f"`{row.method}`" + (f" with {row.having}" if row.having else "")
    return f"| {method} | {row.name} | {row.network} | "


def correlation(row: Row) -> float:
    """Return the correlation of the maps."""
    import numpy as np

    import onnxcam

    case = _case(row.network)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = row.theirs(case)
    if row.ours is None:
        explainer = onnxcam.Explainer(case.path, method=row.method, provider="cpu", settings=row.settings)
        ours = explainer.attribute(case.x.numpy(), target=[case.target])[0]
    else:
        ours = row.ours(case)
    return float(max(np.corrcoef(one.ravel(), theirs.ravel())[0, 1] for one in row.shown(ours, theirs)))


@functools.cache
def _case(network: str):
    import maps

    return maps.case(network, environment.CACHE)


def updated(page: str, peer: str, title: str, line: str, labels: Sequence[str]) -> str:
    """Return the page with *line* in the table of *peer*, whose rows are those of *labels*, in this order."""
    found = re.search(rf"^## {re.escape(peer)}\b.*?(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    section = found[0] if found else f"\n## {peer}\n\n{TABLE}\n"
    before, table, after = re.split(r"(\| method .*?\n)(?=[^|]|\Z)", section, maxsplit=1, flags=re.DOTALL)
    lines = [line, *table.splitlines()[2:]]
    rows = [next((each for each in lines if each.startswith(label)), None) for label in labels]
    before = re.sub(r"^## .*$", f"## {title}", before, count=1, flags=re.MULTILINE)
    section = before + "\n".join([TABLE, *filter(None, rows)]) + "\n" + after
    return page[: found.start()] + section + page[found.end() :] if found else page + section


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure the rows of docs/agreement.md.")
    parser.add_argument("--here", action="store_true", help="in this environment, not in one made for it")
    parser.add_argument("--method", action="append", help="only the rows of this method; default: all")
    parser.add_argument("--new", action="store_true", help="only rows that the page does not have")
    asked = parser.parse_args()
    if asked.here:
        main(asked)
    else:
        command = [environment.prepare(), __file__, "--here", *sys.argv[1:]]
        sys.exit(subprocess.run(command, check=False).returncode)
