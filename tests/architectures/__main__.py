"""``python -m tests.architectures [NAME ...]``: measure all networks, or those named, and write their rows."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from pathlib import Path

from tests.architectures import NETWORKS
from tests.architectures.measure import EXPORTERS, ExportError, Gradient, measure

HEAD = """# Whole networks

Whole vision networks of `transformers`, small and with random weights, as PyTorch's two exporters write them: the
gradient with respect to every floating input, on ONNX Runtime in float32, against PyTorch autograd.
`python -m tests.architectures` wrote this table.

The oracle is autograd in float64, itself held against central differences; where it fails that, the difference is the
oracle; in single, where the network computes something else in double. (Some networks detach a tensor on purpose;
their autograd is not the derivative of what they compute.) A dash is an exporter that refuses the network, or writes
one that ONNX Runtime does not run or that computes something else.
An empty cell, or a network that is not listed, has not been measured.

"""
TABLE = Path(__file__).parents[2] / "docs" / "architectures.md"
COLUMNS = ("network", *(f"{name}: nodes → with gradient, error" for name in EXPORTERS))
COLUMNS += ("cosine", "oracle", "to build (CPU)", "holds")


def row(name: str, found: dict[str, Gradient | Exception]) -> tuple[str, bool]:
    """Return the line of the table, and whether all gradients hold."""
    gradients = [each for each in found.values() if isinstance(each, Gradient)]
    faults = {by: e for by, e in found.items() if isinstance(e, Exception) and not isinstance(e, ExportError)}
    good = not faults and all(each.holds for each in gradients)
    cells = [
        f"{each.nodes} → {each.gradient_nodes}, {each.error:.0e}" if isinstance(each, Gradient) else "–"
        for each in found.values()
    ]
    verdict = "yes" if good else "**no** " + "; ".join(f"{by}: {str(e)[:200]}" for by, e in faults.items())
    if gradients:
        rest = (f"{min(g.cosine for g in gradients):.6f}", gradients[0].oracle, f"{gradients[0].seconds:.2f} s")
    else:
        rest = ("", "", "")
        verdict = verdict if faults else str(found["dynamo"])
    return f"| {' | '.join((name, *cells, *rest, verdict))} |", good


def main(names: list[str]) -> int:
    """Measure the networks *names*, all by default, and write their rows; return 1 if one of them is off."""
    logging.disable(logging.ERROR)
    rows, wrong = _written(), 0
    for name in names or NETWORKS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = measure(NETWORKS[name])
        rows[name], good = row(name, found)
        wrong += not good
        print(
            rows[name], *(f"  {by}: {e}" for by, e in found.items() if isinstance(e, Exception)), sep="\n", flush=True
        )
        table = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS), *(rows[n] for n in NETWORKS if n in rows)]
        TABLE.write_text(HEAD + "\n".join(table) + "\n", "utf-8")
    return int(wrong > 0)


def _written() -> dict[str, str]:
    """Return the rows that the table has."""
    lines = TABLE.read_text("utf-8").splitlines()
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines if line.startswith("| ")}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NETWORKS, []])
    sys.exit(main(parser.parse_args().names))
