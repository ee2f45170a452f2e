"""A hub on this machine, in place of Hugging Face's, and an empty cache."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from onnxcam.hub import download
from tests.hub.server import FakeHub, serving


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """The hub, which huggingface_hub asks in this test; a test may change its repositories."""
    pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    constants = importlib.import_module("huggingface_hub.constants")
    with serving() as served:
        files = served.address + "/{repo_id}/resolve/{revision}/{filename}"
        cache, token = str(tmp_path / "cache"), str(tmp_path / "token")
        values = {"ENDPOINT": served.address, "HUGGINGFACE_CO_URL_TEMPLATE": files, "HF_HUB_CACHE": cache}
        for name, value in {**values, "HF_HUB_OFFLINE": False, "HF_TOKEN_PATH": token}.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        download.forget()
        yield served
        download.forget()
