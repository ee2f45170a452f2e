"""``onnxcam demo``: explain two sample images with a small model that comes with onnxcam."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from onnxcam.cli import options
from onnxcam.cli.summary import RunSummary, counted


def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Output folder.")] = Path("onnxcam-demo"),
    method: Annotated[str, typer.Option("--method", "-m", help="Explanation method.")] = "gradcam",
    provider: options.ProviderOption = "auto",
    overwrite: options.OverwriteOption = False,
) -> None:
    """Explain two sample images. The correct regions are known, so each map is checked."""
    from onnxcam.cli import show
    from onnxcam.demo import demonstrate
    from onnxcam.explainer.manifest import Folder

    rows = []
    with Folder(output, overwrite=overwrite) as folder:
        for shown in demonstrate(method, provider):
            entry = folder.add(shown.picture.name, shown.explanation)
            where = "on the object" if shown.hit else "elsewhere"
            rows.append(
                (
                    entry["image"],
                    entry["target"]["label"],
                    f"{entry['probability']:.1%}",
                    where,
                    entry["overlay"],
                )
            )
    show.table(("image", "class", "# probability", "peak", "overlay"), rows)
    show.where(output)
    hits = sum(row[3] == "on the object" for row in rows)
    RunSummary(
        f"{counted(len(rows), 'map')}, {hits} on the object, by {method}",
        f"{output}{os.sep}",
        next="onnxcam explain MODEL IMAGE",
    ).tell()
    if not all(row[3] == "on the object" for row in rows):
        raise typer.Exit(1)
