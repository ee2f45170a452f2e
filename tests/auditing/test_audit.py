"""`audit` in worlds where it is known what was planted, over few rows, and over what is no batch."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.planted import KINDS
from models.planted_batch import PlantedWorlds
from onnxcam.auditing.audit import audit
from onnxcam.auditing.clusters import spectral
from onnxcam.auditing.folder import save
from onnxcam.auditing.lists import near_duplicates
from onnxcam.auditing.report import html
from onnxcam.auditing.shortcuts import shortcuts
from onnxcam.auditing.slices import wilson
from onnxcam.auditing.table import read_table
from onnxcam.auditing.views import shared_look
from onnxcam.batching import schema
from onnxcam.errors import OutputError

COUNT = 400
NOTHING = pa.schema([])


@pytest.fixture(scope="module")
def worlds() -> PlantedWorlds:
    return PlantedWorlds(0, COUNT)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_planted_is_named(worlds: PlantedWorlds, kind: str, tmp_path: Path) -> None:
    worlds.write(tmp_path / "batch", kind)
    found = shortcuts(read_table([tmp_path / "batch"]))
    assert [(one.kind, one.label) for one in found] == [("shortcut", worlds.plants[kind].label)]
    hits = len(worlds.planted[kind] & set(found[0].ids))
    assert hits >= 0.95 * len(found[0].ids)  # docs/audit.md has the figures of thirty seeds
    assert hits >= 0.9 * len(worlds.planted[kind])


def test_nothing_is_named_where_nothing_was_planted(worlds: PlantedWorlds, tmp_path: Path) -> None:
    worlds.write(tmp_path / "batch", None)
    assert shortcuts(read_table([tmp_path / "batch"])) == []


Rows = Callable[..., Path]


@pytest.fixture
def batch(tmp_path: Path) -> Rows:
    """Write rows of *count* random pictures of two classes, with *values* in each."""

    def write(count: int, own: pa.Schema = NOTHING, **values: Any) -> Path:
        rng = np.random.default_rng(0)
        rows = [
            {
                "number": n,
                "id": f"{n}.png",
                "path": f"{n}.png",
                "label": ("cat", "dog")[n % 2],
                "predicted_label": ("cat", "dog")[n % 2],
                "heat": rng.integers(0, 256, 256, np.uint8).tobytes(),
                "thumbnail": rng.integers(0, 256, 768, np.uint8).tobytes(),
                "dhash": int(rng.integers(0, 2**63)),
                **{key: value(n) if callable(value) else value for key, value in values.items()},
            }
            for n in range(count)
        ]
        folder = tmp_path / "batch"
        folder.mkdir()
        table = schema.table(rows, schema.schema(own, {}))
        (folder / "part-000000.parquet").write_bytes(schema.to_bytes(table))
        return folder

    return write


def refused(folder: Any, message: str) -> None:
    with pytest.raises(OutputError, match=message):
        audit(folder)


def test_no_folder() -> None:
    refused([], "no folder is named; name the folders that `onnxcam batch` wrote")


def test_a_folder_without_a_batch(tmp_path: Path) -> None:
    refused(tmp_path, "no batch is there; name folders that `onnxcam batch` wrote")


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "part-000000.parquet").write_bytes(b"nothing")
    refused(tmp_path, r"part-000000.parquet: no Parquet file \(.*\); run `onnxcam batch` again")


def test_an_empty_batch(batch: Rows) -> None:
    refused(batch(0), "the batch has no rows; run `onnxcam batch` over more pictures")


def test_only_errors(batch: Rows) -> None:
    refused(batch(3, error="no image"), r"all 3 rows are errors \(the first: no image\); run `onnxcam batch` again")


def test_batches_of_an_older_schema(batch: Rows) -> None:
    path = batch(2, thumbnail=lambda n: bytes(range(192)) if n else None) / "part-000000.parquet"
    rows = schema.from_bytes(path.read_bytes())
    for version in (1, 3):
        path.write_bytes(schema.to_bytes(rows.replace_schema_metadata({schema.KEY: f'{{"schema": {version}}}'})))
        if version == 3:
            refused(path.parent, r"its schema has version 3, this onnxcam reads 1 and 2; use the onnxcam that wrote it")
        else:
            nothing, found = read_table([path.parent]).thumbnails
            assert not nothing.any()
            np.testing.assert_array_equal(found[::2, ::2], np.arange(192).reshape(8, 8, 3))
            np.testing.assert_array_equal(found[1::2, 1::2], found[::2, ::2])


def test_the_look_that_members_share_is_that_of_the_cells_that_do_not_vary() -> None:
    rng = np.random.default_rng(0)
    thumbnails = rng.integers(0, 256, (60, 16, 16, 3), np.uint8)
    members = np.arange(60) < 12
    thumbnails[:10, 1, 1] = (10, 20, 30)  # two of the members have no mark
    thumbnails[:10, 8, 8] = 7  # no place of marks
    every = np.ones(60, bool)
    view = shared_look("top left corner", thumbnails, every, members, ~members)
    assert view is not None
    assert view.around is not None
    np.testing.assert_allclose(view.around * 3, [[10, 20, 30]])  # in units of 3 grey levels
    np.testing.assert_allclose(view.at(every) * 3, thumbnails[:, 1, 1], rtol=1e-6)
    assert shared_look("top right corner", thumbnails, every, members, ~members) is None
    assert shared_look("top left corner", thumbnails, ~members, members, ~members) is None


def test_few_rows_of_unknown_truth(batch: Rows) -> None:
    found = audit(batch(12, error=lambda n: "no image" if n == 0 else None))
    assert found.findings == []
    assert found.clusters == []
    assert found.notes == [
        "1 rows are errors and are left out",
        "2 of 2 classes have fewer than 20 rows: no shortcut is looked for there",
        "no object is known (--truth of onnxcam batch): maps are not compared with objects",
        "no answer is known to be right or wrong: no errors, wrong reasons and slices",
        "the batch has no features: activations are not clustered",
    ]


def test_one_class(batch: Rows) -> None:
    found = audit(batch(40, label="cat"))
    assert found.findings == []
    assert "there is one class, and no other to compare its parts with: no shortcut is looked for" in found.notes


def test_rows_without_a_class_or_a_map(batch: Rows) -> None:
    found = audit(batch(40, label=None, predicted_label=None, truth=["ship"], heat=None, thumbnail=None, dhash=None))
    assert [one.label for one in found.energies] == ["ship"]
    assert found.energies[0].border is None
    assert found.clusters == []


def test_a_slice_with_more_errors(batch: Rows) -> None:
    own = pa.schema([pa.field("camera", pa.string())])
    found = audit(batch(200, own, camera=lambda n: "abc"[n % 3], correct=lambda n: n % 3 != 1 or n % 2 == 0))
    assert [(one.kind, one.cluster) for one in found.findings] == [("slice", "camera = b")]
    assert found.findings[0].share == pytest.approx(34 / 67)
    assert "34 of 67 answers are wrong where camera = b, 50.7%" in found.findings[0].why


def test_lists(batch: Rows) -> None:
    folder = batch(
        4,
        correct=lambda n: n != 0,
        predicted_probability=0.99,
        truth=["ship"],
        map_truth=lambda n: 0.05 if n == 1 else 0.8,
        truth_area=0.1,
    )
    found = audit(folder).lists
    assert [(one.kind, one.ids) for one in found] == [("wrong reason", ("1.png",)), ("confident error", ("0.png",))]
    assert found[0].why == "right, with 5% of the map on the object that fills 10% of the picture"
    assert found[1].why == "'cat' with 99.0%, and it is 'ship'"


def test_near_duplicates_across_classes(batch: Rows) -> None:
    look = bytes(range(256)) * 3
    hashes = {1: 2**40, 4: 2**40 + 0b111, 6: 2**40 + 0b1111 * 2**20}
    table = read_table([batch(8, thumbnail=look, dhash=lambda n: hashes.get(n, (n + 1) * 0x1F3D5B79A8642))])
    (found,) = near_duplicates(table)
    assert set(found.ids) == {"1.png", "4.png"}
    assert found.why == "2 alike, in 2 classes: cat, dog"


def test_spectral_clusters_are_those_of_separate_clouds() -> None:
    rng = np.random.default_rng(0)
    clouds = np.concatenate([rng.normal(20 * k, 1, (30, 4)) for k in range(3)]).astype(np.float32)
    found = spectral(clouds)
    assert [len(set(found[k : k + 30])) for k in (0, 30, 60)] == [1, 1, 1]
    assert len(set(found)) == 3


def test_wilson_interval() -> None:
    assert wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)


def test_nothing_is_found_only_where_a_test_was_made(batch: Rows) -> None:
    found = audit(batch(40))
    assert not found.missing
    assert "Nothing found in 40 rows of 2 classes" in html(found)


def test_a_report_without_jinja(batch: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = audit(batch(4))
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(OutputError, match=r"made by Jinja, which is not installed; pip install 'onnxcam\[audit\]'"):
        save(found, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_folder_of_an_audit(batch: Rows, tmp_path: Path) -> None:
    found = audit(batch(30, label="<b>cat</b>", correct=False, predicted_probability=0.95, truth=["dog"]))
    page = save(found, tmp_path / "out", images=tmp_path).read_text("utf-8")
    assert "&lt;b&gt;cat&lt;/b&gt;" in page
    assert "<b>cat" not in page
    assert "(thumbnail: the file was not reachable)" in page
    assert "Too little to look at in 30 rows of 1 class" in page
    assert "Missing: a second class, objects and a column of the manifest with values of at least 10 rows." in page
    result = json.loads((tmp_path / "out/findings.json").read_text("utf-8"))
    assert (result["format"], result["rows"], result["findings"]) == ("onnxcam.audit", 30, [])
    samples = json.loads((tmp_path / "out/fiftyone/samples.json").read_text("utf-8"))["samples"]
    assert samples[0]["tags"] == ["confident error"]
    assert samples[0]["ground_truth"] == {"_cls": "Classification", "label": "dog"}
    assert (tmp_path / "out/fiftyone" / samples[0]["heatmap"]["map_path"]).read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(OutputError, match="holds an audit; choose another folder with -o, or --overwrite that one"):
        save(found, tmp_path / "out")
    save(found, tmp_path / "out", overwrite=True)
