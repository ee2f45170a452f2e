"""Models by name: what is downloaded from the hub, what of it is meant, and what can go wrong, in one line each."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.errors import ModelError
from onnxcam.hub import HubAddress, local, name_of, notes_of
from onnxcam.hub.catalogue import MODELS
from onnxcam.hub.download import forget
from tests.command import Ran
from tests.hub.server import COMMIT, FakeHub
from tests.networks import classifier

ASSETS = Path(__file__).parents[2] / "onnxcam" / "assets"
CONFIG = json.dumps({"id2label": {"0": "cat", "1": "dog"}}).encode()
MEANS = json.dumps({"do_normalize": True, "image_mean": [0.1] * 3, "image_std": [0.2] * 3, "do_rescale": True}).encode()


def with_weights_beside(folder: Path) -> dict[str, bytes]:
    """Return the files of a repository whose model has its weights in another file."""
    model = classifier()
    for tensor in model.graph.initializer:  # only raw data can be moved
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    files = {f"onnx/{name}": (folder / name).read_bytes() for name in ("model.onnx", "model.onnx_data")}
    more = {"onnx/model_fp16.onnx": b"x", "README.md": b"x", "pytorch_model.bin": b"x", "data/other.json": b"{}"}
    return {**files, **more, "config.json": CONFIG, "preprocessor_config.json": MEANS}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("hf://org/name", HubAddress("org/name")),
        ("hf:/org/name", HubAddress("org/name")),  # as pathlib writes it
        ("hf://org/name:model.onnx@v1", HubAddress("org/name", "model.onnx", "v1")),
        ("hf://org/name:onnx/model.onnx", HubAddress("org/name", "onnx/model.onnx")),
        ("hf://org/name/onnx/model.onnx", HubAddress("org/name", "onnx/model.onnx")),
        ("hf://org/name@refs/pr/1", HubAddress("org/name", None, "refs/pr/1")),
        ("https://huggingface.co/org/name", HubAddress("org/name")),
        ("https://huggingface.co/org/name/blob/main/onnx/m.onnx", HubAddress("org/name", "onnx/m.onnx")),
        ("https:/huggingface.co/org/name/resolve/v1/m.onnx?download=true", HubAddress("org/name", "m.onnx", "v1")),
        ("https://huggingface.co/org/name/tree/main/onnx", HubAddress("org/name")),
        ("s3://org/name", None),
        ("hf/org/name", None),
    ],
)
def test_addresses(text: str, address: HubAddress | None) -> None:
    assert HubAddress.of(text) == address
    assert address is None or HubAddress.of(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "hf://",
        "hf://name",
        "hf:/name:a.onnx",
        "hf://org/name@",
        "hf://org/name:../x.onnx",
        "hf://o/n@a@b",
        "hf://a b/c",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ModelError, match="is no address of a model; write hf://org/name"):
        HubAddress.of(text)


def test_a_model_comes_with_its_weights_labels_and_preprocessing(hub: FakeHub, tmp_path: Path) -> None:
    hub.repositories["org/net"] = with_weights_beside(tmp_path)
    explainer = Explainer(Path("hf://org/net"))
    image = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    found = explainer(image, target="dog")
    assert sorted(set(hub.names())) == ["config.json", "model.onnx", "model.onnx_data", "preprocessor_config.json"]
    assert "mean=0.1" in str(explainer.network.resolved.preprocess)
    assert any(
        "has 2 models, onnx/model.onnx, onnx/model_fp16.onnx; the first is taken" in one for one in found.warnings
    )
    folder = tmp_path / "as a folder" / "onnx"
    folder.mkdir(parents=True)
    for name, data in hub.repositories["org/net"].items():
        if name.startswith("onnx/"):
            (folder.parent / name).write_bytes(data)
    (folder.parent / "config.json").write_bytes(CONFIG)
    (folder.parent / "preprocessor_config.json").write_bytes(MEANS)
    assert np.array_equal(Explainer(folder / "model.onnx")(image, target="dog").map, found.map)


def test_the_cache_answers_the_next_time_and_without_a_connection(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = importlib.import_module("huggingface_hub.constants")
    hub.repositories["org/net"] = with_weights_beside(tmp_path)
    first = local("hf://org/net:model.onnx")
    hub.asked.clear()
    forget()
    assert local("hf://org/net:model.onnx") == first
    assert hub.names() == hub.names("HEAD") == []  # one request for the commit
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    forget()
    assert local("hf://org/net:onnx/model.onnx") == first
    assert notes_of("hf://org/net:onnx/model.onnx")[-1].endswith("in the cache: there is no connection to the hub")
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set, and the cache has no copy; connect once"):
        local("hf://org/other")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    forget()
    assert local("hf://org/net") == first
    with pytest.raises(ModelError, match=r"the hub cannot be reached \(\w+\), and the cache has no copy"):
        local("hf://org/other")


def wrong(hub: FakeHub, address: str, text: str) -> None:
    """The *address* has an error of one line with *text*, in which no token is printed."""
    forget()
    with pytest.raises(ModelError) as error:
        local(address)
    assert text in str(error.value)
    assert "\n" not in str(error.value)
    assert "hf_" not in str(error.value)
    assert hub.address not in str(error.value)


def test_what_can_be_wrong_is_one_line(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = with_weights_beside(tmp_path)
    hub.repositories |= {"org/net": files, "org/none": {"config.json": b"{}"}, "org/shut": files, "org/own": files}
    hub.gated, hub.private = {"org/shut"}, {"org/own"}
    wrong(hub, "hf://org/nothing", "no such repository, or a private one; check the name")
    wrong(hub, "hf://org/own", "no such repository, or a private one; check the name")
    wrong(hub, "hf://org/shut", "gives no access to this repository; accept its terms")
    wrong(hub, "hf://org/net@v9", "has no revision 'v9'")
    wrong(hub, "hf://org/none", "has no .onnx file; choose a repository with one")
    wrong(hub, "hf://org/none:m.onnx", "has no file 'm.onnx'; it has no .onnx file")
    wrong(hub, "hf://org/net:model_fp32.onnx", "its models are onnx/model.onnx, onnx/model_fp16.onnx")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    wrong(hub, "hf://org/net", "the hub refuses the token; log in again")
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    forget()
    assert local("hf://org/own@v1").name == "model.onnx"
    assert {token for _, _, token in hub.asked} >= {"Bearer hf_good"}


def test_names_and_places_of_files(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = (ASSETS / "shapes.onnx").read_bytes()
    hub.repositories["org/net"] = {"模 型.onnx": data, "../../outside.onnx": data}
    path = local("HF://org/net")
    assert path.read_bytes() == data
    path.resolve().unlink()  # what is gone from the cache is downloaded again
    forget()
    assert local("hf://org/net").read_bytes() == data
    hub.repositories["org/out"] = {"../../outside.onnx": data}
    wrong(hub, "hf://org/out", "has no .onnx file")
    (tmp_path / "file").touch()
    monkeypatch.setattr(importlib.import_module("huggingface_hub.constants"), "HF_HUB_CACHE", str(tmp_path / "file"))
    wrong(hub, "hf://org/net", "cannot be kept in the cache (Not a directory); set HF_HUB_CACHE to another folder")


def test_damaged_and_half_downloads(hub: FakeHub, tmp_path: Path) -> None:
    hub.repositories["org/net"] = with_weights_beside(tmp_path)
    hub.damaged = {"onnx/model.onnx_data"}
    wrong(hub, "hf://org/net", "'onnx/model.onnx_data' of hf://org/net arrived damaged: its SHA-256 is not the hub's")
    hub.damaged, hub.broken = set(), {"onnx/model.onnx_data"}
    wrong(hub, "hf://org/net", "the download of 'onnx/model.onnx_data' broke off")
    hub.broken = set()
    forget()
    assert Explainer("hf://org/net").network.outputs == ["logits"]
    files = hub.repositories["org/net"] = dict(hub.repositories["org/net"])
    del files["onnx/model.onnx_data"]
    shutil.rmtree(tmp_path / "cache")
    wrong(hub, "hf://org/net", "there is no 'onnx/model.onnx_data' in the repository")


def test_the_parts_of_a_decoder_are_joined(hub: FakeHub, onnxcam: Callable[..., Ran], tmp_path: Path) -> None:
    parts = Path(__file__).parents[2] / "models" / "describer"
    hub.repositories["org/describer"] = {
        f"onnx/{one.name}" if one.suffix == ".onnx" else one.name: one.read_bytes() for one in parts.iterdir()
    } | {"onnx/decoder_model_merged_q4.onnx": b"x"}
    shutil.copy(ASSETS / "shapes_1.png", tmp_path / "img.png")
    words = ("img.png", "--target", "text=red", "--json")
    assert onnxcam("explain", "hf://org/describer", *words, "-o", "a").code == 0
    assert "decoder_model_merged_q4.onnx" not in hub.names()
    ours = json.loads((tmp_path / "a" / "manifest.json").read_text())
    onnxcam("explain", str(parts), *words, "-o", "b")
    same = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert [one["score"] for one in ours] == [one["score"] for one in same]


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelError, match=r"need huggingface_hub, which is not installed; pip install 'onnxcam\[hub\]'"):
        local("hf://org/net")


COMMANDS: dict[str, tuple[Any, ...]] = {
    "explain": ("explain", "MODEL", "img.png", "-o", "out"),
    "inspect": ("inspect", "MODEL"),
    "bake": ("bake", "MODEL", "-o", "baked.onnx"),
    "instrument": ("instrument", "MODEL", "-o", "more.onnx", "--input-gradient"),
    "validate": ("validate", "MODEL", "MODEL", "img.png"),
    "batch": ("batch", "MODEL", "img.png", "-o", "rows"),
    "record": ("record", "MODEL", "img.png", "-o", "recording"),
    "evaluate": ("evaluate", "MODEL", "img.png", "--metric", "deletion"),
    "pack": ("pack", "MODEL", "-o", "pack.zip"),
    "cache": ("explain", "MODEL", "img.png", "-o", "out", "--cache", "kept"),
    "operators": ("inspect", "MODEL", "--operators", "list.txt"),
    "diagnose": ("diagnose", "MODEL", "MODEL", "img.png"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_an_address(
    command: str, hub: FakeHub, onnxcam: Callable[..., Ran], tmp_path: Path
) -> None:
    hub.repositories["org/shapes"] = {"model.onnx": (ASSETS / "shapes.onnx").read_bytes()}
    shutil.copy(ASSETS / "shapes_1.png", tmp_path / "img.png")
    ran = onnxcam(*("hf://org/shapes" if word == "MODEL" else word for word in COMMANDS[command]))
    assert "hf" not in {one.name for one in tmp_path.iterdir()} | {one.name[:2] for one in tmp_path.iterdir()}
    if command == "diagnose":
        assert "is no quantised model" in ran.err or "quantis" in ran.err  # it was read
    else:
        assert ran.code == 0, ran.err
    assert (tmp_path / "cache" / "models--org--shapes" / "snapshots" / COMMIT / "model.onnx").is_file()


def test_an_address_with_a_fault_ends_a_command_with_one_line(hub: FakeHub, onnxcam: Callable[..., Ran]) -> None:
    ran = onnxcam("inspect", "hf://org/nothing")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "error: hf://org/nothing: no such repository, or a private one; check the name, and for a private one log in "
        "with `hf auth login` or HF_TOKEN\n"
    )


def test_reports_name_the_file_and_the_commit(hub: FakeHub, tmp_path: Path) -> None:
    hub.repositories["org/net"] = with_weights_beside(tmp_path)
    assert name_of(Path("hf://org/net")) == f"hf://org/net:onnx/model.onnx@{COMMIT}"
    assert name_of(Path("a") / "m.onnx") == str(Path("a") / "m.onnx")


def test_the_list_of_public_models_downloads_nothing_and_knows_their_hash(
    hub: FakeHub, onnxcam: Callable[..., Ran]
) -> None:
    ran = onnxcam("models", "--json")
    entries = json.loads(ran.out)
    assert len(onnxcam("models").out.splitlines()) - 1 == len(entries) == len(MODELS)  # below a header
    assert hub.asked == []
    for one in entries:
        address = HubAddress.of(one["address"])
        assert address is not None
        assert address.file is not None
        assert one["address"] in one["recipe"]
    known = HubAddress.of(MODELS[0].address)
    assert known is not None
    hub.repositories[known.repository] = {known.file or "": (ASSETS / "shapes.onnx").read_bytes()}
    assert "the SHA-256 differs" in " ".join(notes_of(MODELS[0].address))
