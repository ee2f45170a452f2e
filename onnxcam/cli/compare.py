"""``onnxcam compare``: two recordings, made wherever; does the second still look where the first does?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxcam.cli import options, verdict


def command(
    reference: Annotated[Path, typer.Argument(help="The recording to be measured by, a folder.", show_default=False)],
    candidate: Annotated[Path, typer.Argument(help="The recording that is measured.", show_default=False)],
    truth: options.Truth = None,
    mask_values: options.MaskValues = "object",
    require: options.Require = None,
    common: Annotated[
        bool, typer.Option("--common", help="Leave out pictures that only one has, in place of an error.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Compare though methods, or how pictures are cut and scaled, differ.")
    ] = False,
    images: Annotated[
        list[str] | None,
        typer.Option(
            "--images",
            "-i",
            help="A folder of pictures: the report shows those in it; give it several times for more.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what the folder holds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print validation.json.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the report.")] = Path("onnxcam-validation"),
) -> None:
    """Compare two recordings picture by picture. Exit code 0: it holds, 1: not.

    `onnxcam record` makes them, and on a device what `onnxcam pack` writes; or a firmware (docs/recording.md).
    """
    from onnxcam.cli import show
    from onnxcam.compare.compare import compare_recordings
    from onnxcam.compare.thresholds import DEFAULTS
    from onnxcam.metrics.truth import Truth

    found = compare_recordings(
        reference,
        candidate,
        output,
        common=common,
        force=force,
        truth=None if truth is None else Truth(truth, mask_values),
        require=DEFAULTS if require is None else require,
        overwrite=overwrite,
        images=images or (),
        progress=show.comparing,
    )
    verdict.tell(found, output, overwrite=overwrite, as_json=as_json)
