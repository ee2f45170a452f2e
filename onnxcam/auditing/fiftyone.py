"""The pictures that an audit names, with their maps, as FiftyOne's labels (docs/audit.md loads them)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnxcam.auditing.audit import Audit
from onnxcam.auditing.table import AuditTable
from onnxcam.media import image

__all__ = ["samples"]


def samples(audit: Audit) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Return one sample for each named picture, and the PNG of each map by name.

    A sample has ``filepath``, ``tags`` (what names it) and labels with the class name of FiftyOne in ``_cls``:
    ``Classification`` for ``prediction`` and ``ground_truth``, ``Heatmap`` for ``heatmap``.
    """
    tags: dict[str, list[str]] = {}
    for one in audit.findings:
        for id in one.ids:
            tags.setdefault(id, []).append(f"{one.kind}: {one.cluster}")
    for listed in audit.lists:
        for id in listed.ids:
            tags.setdefault(id, []).append(listed.kind)
    row = {id: at for at, id in reversed(list(enumerate(audit.table.ids)))}
    found, maps = [], {}
    for number, (id, own) in enumerate(tags.items()):
        at = row[id]
        sample = _sample(audit.table, at, id, list(dict.fromkeys(own)))
        if audit.table.heat[at].any():
            name = f"maps/{number:06d}.png"
            maps[name] = image.encode(audit.table.heat[at][..., None].repeat(3, axis=2), Path(name))
            sample["heatmap"] = {"_cls": "Heatmap", "map_path": name, "range": [0, 255]}
        found.append(sample)
    return found, maps


def _sample(table: AuditTable, at: int, id: str, tags: list[str]) -> dict[str, Any]:
    values = {
        name: table.columns[name][at].as_py()
        for name in ("path", "predicted_label", "predicted_probability", "truth", "correct")
    }
    sample: dict[str, Any] = {"filepath": values["path"], "tags": tags, "onnxcam_id": id, "correct": values["correct"]}
    label, sure = values["predicted_label"] or str(table.labels[at]), values["predicted_probability"]
    sample["prediction"] = {"_cls": "Classification", "label": label, "confidence": sure}
    if values["truth"]:
        sample["ground_truth"] = {"_cls": "Classification", "label": values["truth"][0]}
    return sample
