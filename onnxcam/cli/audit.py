"""``onnxcam audit``: look for what a data set teaches by mistake."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from onnxcam.cli import options
from onnxcam.cli.summary import RunSummary, counted


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
    overwrite: options.ReplaceOption = False,
) -> None:
    """Find classes whose maps lie on the wrong thing. Reads a batch; writes a report, JSON, and files for FiftyOne.

    Findings passed a test that is corrected for all tests; lists of outliers, confident errors, right answers for
    wrong reasons and near duplicates are for a person to judge.
    """
    from onnxcam.auditing.audit import audit
    from onnxcam.auditing.folder import PAGE, require_free, save
    from onnxcam.cli import show

    require_free(output, overwrite=overwrite)
    found = audit(folders, seed=seed)
    save(found, output, images=images, overwrite=overwrite)
    if as_json:
        show.json(found.as_dict())
    else:
        rows = [(one.kind, one.cluster, one.place, str(len(one.ids)), f"{one.strength:.1f}") for one in found.findings]
        if rows or not show.out.is_terminal:
            show.table(("finding", "cluster", "place", "# pictures", "# strength"), rows)
        show.where(output)
    for note in found.notes:
        show.print_err(f"note: {note}")
    first = found.findings[0] if found.findings else None
    done = f"{counted(len(found.findings), 'finding')} in {counted(len(found.table), 'row')}"
    if found.missing:
        done = f"no test in {counted(len(found.table), 'row')}: missing are {found.missing}"
    RunSummary(
        done,
        f"{output}{os.sep}",
        first="" if first is None else f"{first.cluster}: {first.why}",
        next=f"open {output / PAGE}" + ("" if first is None else f"; {first.check}"),
    ).tell()
