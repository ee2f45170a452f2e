"""Files that ask to run code are refused before they do; each would leave a trace."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from onnxcam_converters.torchfiles import opened

from onnxcam.errors import ConversionError
from tests.conftest import Ran

SAYS = r"which could run any code when it is read; export it again without, or give --unsafe-pickle"


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("trace",)


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(x)).mean((2, 3)) * x.shape[0]


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The members of an exported program of open batch size."""
    monkeypatch.chdir(tmp_path)
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(Net().eval(), (torch.zeros(2, 3, 8, 8),), dynamic_shapes=shapes)
    torch.export.save(program, "good.pt2")
    with zipfile.ZipFile("good.pt2") as good:
        return {name: good.read(name) for name in good.namelist()}


def saved(members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile("evil.pt2", "w") as out:
        for name, data in members.items():
            out.writestr(name, data)
    return Path("evil.pt2")


def evil() -> bytes:
    data = io.BytesIO()
    torch.save(Evil(), data)
    return data.getvalue()


def with_weight(members: dict[str, bytes]) -> None:
    name = next(name for name in members if name.endswith("model_weights_config.json"))
    config = json.loads(members[name])
    first = next(iter(config["config"].values()))
    first["use_pickle"] = True
    members[name] = json.dumps(config).encode()
    members[next(name for name in members if name.endswith("/weights/" + first["path_name"]))] = evil()


def with_example(members: dict[str, bytes]) -> None:
    members[next(name for name in members if name.endswith("sample_inputs/model.pt"))] = evil()


def with_constant(members: dict[str, bytes]) -> None:
    name = next(name for name in members if name.endswith("model_constants_config.json"))
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    members[name] = json.dumps({"config": {"c": entry}}).encode()
    members[name.rpartition("/")[0] + "/opaque_obj_0"] = pickle.dumps(Evil())


def with_size(members: dict[str, bytes]) -> None:
    name = next(name for name in members if name.endswith("models/model.json"))
    text = members[name].decode()
    start = text.index('"expr_str": "') + len('"expr_str": "')
    members[name] = (text[:start] + "__import__('os').mkdir('trace')" + text[text.index('"', start) :]).encode()


def with_native(members: dict[str, bytes]) -> None:
    members["good/data/aotinductor/model/model.so"] = b"\x7fELF"


@pytest.mark.parametrize("spoil", [with_weight, with_example, with_constant, with_size, with_native])
def test_an_exported_program_runs_no_code(archive: dict[str, bytes], spoil: Callable[[dict[str, bytes]], None]) -> None:
    spoil(archive)
    with pytest.raises(ConversionError, match=SAYS):
        opened(saved(archive), unsafe_pickle=False)
    assert not Path("trace").exists()


def test_a_good_program_is_read(archive: dict[str, bytes]) -> None:
    found = opened(saved(archive), unsafe_pickle=False)
    assert found.module()(torch.zeros(3, 3, 8, 8)).shape == (3, 4)


@pytest.mark.parametrize("name", ["evil.pt", "evil.pth"])
def test_a_pickle_runs_no_code(onnxcam: Callable[..., Ran], tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(evil())
    ran = onnxcam("export", name, "-o", "x.onnx")
    assert ran.code == 2
    assert "--unsafe-pickle" in ran.err
    assert sorted(file.name for file in tmp_path.iterdir()) == [name]
