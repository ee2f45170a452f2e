"""Measure onnxcam against its limit (plain inference) and its peers: ``python benchmarks/run.py``.

Without ``--here`` an environment of its own is made first, with onnxcam from this checkout and the peers, and the
measurements run there. A full run rewrites the table of README.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

import environment

NAMES = (
    *("gradcam", "gradients", "one_thread", "cams", "perturbations", "deployed", "integers", "baked", "build"),
    *("chains", "nodes", "validate", "explain", "detector", "startup", "memory", "converters"),
)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds: numbers to look at, not to quote")
    parser.add_argument("--only", action="append", choices=NAMES, help="this measurement; may be repeated")
    parser.add_argument("--here", action="store_true", help="use this interpreter; peers that it lacks are left out")
    options = parser.parse_args(arguments)
    if options.here:
        measure(options.only or NAMES, options.quick)
        return 0
    return subprocess.run([environment.prepare(), __file__, "--here", *arguments], check=False).returncode


def measure(names: Sequence[str], quick: bool) -> None:
    """Run the measurements *names* and print the table; a full run with all peers writes it into the README."""
    import contenders
    import table
    from measure import MEASUREMENTS, Setting
    from networks import NETWORKS

    folder = environment.CACHE / "models"
    made = {name: contenders.Network(name, folder) for name in NETWORKS}
    setting, rows = Setting(quick, folder, made), []
    with contenders.quiet():
        for name in names:
            for row in MEASUREMENTS[name](setting):
                rows.append(row)
                print(table.line(row), flush=True)
    whole = tuple(names) == NAMES and not quick
    if whole and all(contenders.installed(module) for module in contenders.PEERS):
        table.replace(environment.HERE / "README.md", table.written(rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
