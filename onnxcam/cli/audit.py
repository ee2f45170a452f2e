"""``onnxcam audit``: look for what a data set teaches by mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    folders: Annotated[
        list[str], typer.Argument(help="Folders, or addresses, that `onnxcam batch` wrote.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Output folder.")] = Path("onnxcam-audit"),
    images: Annotated[
        str | None,
        typer.Option(help="Folder or address that the paths of the pictures are relative to.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of samples and halves.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print findings.json.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the audit in the output folder.")] = False,
) -> None:
    """Look in a batch for classes whose maps lie on the wrong thing. Writes a report, JSON, and files for FiftyOne.

    Findings passed a test that is corrected for all tests; lists of outliers, confident errors, right answers for
    wrong reasons and near duplicates are for a person to judge.
    """
    from onnxcam.auditing.audit import audit
    from onnxcam.auditing.folder import save
    from onnxcam.cli import show

    found = audit(folders, seed=seed)
    save(found, output, images=images, overwrite=overwrite)
    if as_json:
        show.json(found.as_dict())
    else:
        rows = [(one.kind, one.cluster, one.place, str(len(one.ids)), f"{one.strength:.1f}") for one in found.findings]
        show.table(("finding", "cluster", "place", "# pictures", "# strength"), rows)
        show.where(output)
    for note in found.notes:
        show.print_err(f"note: {note}")
