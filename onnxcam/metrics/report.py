"""Report of an evaluation: a folder with evaluation.json and plots of the curves, written atomically."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

from onnxcam.files import StagedFolder, refuse_finished, write, writing
from onnxcam.metrics import curve_plots
from onnxcam.text import to_json

if TYPE_CHECKING:
    from onnxcam.metrics.results import Evaluation

__all__ = ["FILE", "PLOT", "Report", "save"]

FILE, PLOT = "evaluation.json", "curves.png"


def save(evaluation: Evaluation, directory: str | os.PathLike[str], *, overwrite: bool = False) -> list[Path]:
    """Write the report of *evaluation* to *directory*; return the paths of its files.

    OutputError if the folder holds an evaluation, unless *overwrite*.
    """
    with Report(directory, overwrite=overwrite) as report:
        return report.write(evaluation)


class Report(StagedFolder):
    """Folder of an evaluation. It is created before the measurement, so that an error shows at once."""

    def __init__(self, directory: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        super().__init__(directory, FILE, overwrite=overwrite)

    def __enter__(self) -> Self:
        curve_plots.require()
        refuse_finished(self.path, FILE, "a finished evaluation", overwrite=self.overwrite)
        self.require_replaceable([FILE])
        return super().__enter__()

    def write(self, evaluation: Evaluation) -> list[Path]:
        """Stage the files of *evaluation*; return their final paths."""
        text = to_json(evaluation.to_dict()) + "\n"
        with writing(self.path):
            drawn = curve_plots.draw(evaluation, self.staging / PLOT) if curve_plots.drawable(evaluation) else []
        write(self.staging / FILE, text)
        return [self.path / FILE, *(self.path / file.name for file in drawn)]
