"""What docs/diagnose.md says is done, and the causes it lists are those that there are."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from onnxcam.diagnosis.causes import CAUSES
from tests.diagnosis.twins import twins_in
from tests.docs_pages import DOCS, Run, follow


def test_the_page_can_be_followed(onnxcam: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twins = twins_in(tmp_path)
    shutil.copy(twins.real, tmp_path / "float.onnx")
    shutil.copy(twins.spoilt, tmp_path / "int8.onnx")
    shutil.copytree(twins.images, tmp_path / "photos")
    assert len(follow("diagnose.md", onnxcam)) == 2
    assert (tmp_path / "report" / "diagnosis.html").is_file()
    assert (tmp_path / "said.onnx").is_file()


def test_the_page_lists_the_causes() -> None:
    listed = re.findall(r"^\| `([\w-]+)` \|", (DOCS / "diagnose.md").read_text("utf-8"), re.MULTILINE)
    assert set(CAUSES) <= set(listed)
