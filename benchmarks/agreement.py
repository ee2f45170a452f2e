"""Compare the maps with the peers' on the same networks and weights: ``python benchmarks/agreement.py [--here]``.

It prints the tables of docs/agreement.md, one for each peer: the correlation of what `attribute` returns with the
peer's map. `maps.py`, `maps_concepts.py` and `maps_saliency.py` say who is compared with whom, and how each peer is
called.
"""

from __future__ import annotations

import contextlib
import io
import logging
import subprocess
import sys
import warnings

import environment

TABLE = "| method | peer | network | correlation |\n|---|---|---|---:|"


def main() -> None:
    """Print a table for each peer."""
    import maps
    import maps_concepts
    import maps_saliency
    import numpy as np

    import onnxcam
    from onnxcam.methods import METHODS

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    cases = {name: maps.case(name, environment.CACHE) for name in maps.NETWORKS}
    concepts = {"pytorch-grad-cam": [*maps.PEERS["pytorch-grad-cam"], *maps_concepts.ROWS]}
    for peer, rows in {**maps.PEERS, **concepts, **maps_saliency.PEERS}.items():
        print(f"\n## {peer} {maps.version(peer)}\n\n{TABLE}", flush=True)
        for row in rows:
            if row.method not in METHODS:
                continue
            case = cases[row.network]
            with contextlib.redirect_stdout(io.StringIO()):
                theirs = row.theirs(case)
            if row.ours is None:
                explainer = onnxcam.Explainer(case.path, method=row.method, provider="cpu", settings=row.settings)
                ours = explainer.attribute(case.x.numpy(), target=[case.target])[0]
            else:
                ours = row.ours(case)
            method = f"`{row.method}`" + (f" with {row.formula}" if row.formula else "")
            found = max(np.corrcoef(one.ravel(), theirs.ravel())[0, 1] for one in row.shown(ours, theirs))
            print(f"| {method} | {row.name} | {row.network} | {found:.6f} |", flush=True)


if __name__ == "__main__":
    if "--here" in sys.argv:
        main()
    else:
        sys.exit(subprocess.run([environment.prepare(), __file__, "--here"], check=False).returncode)
