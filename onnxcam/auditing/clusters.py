"""Spectral clusters of the maps and of the activations of a class, as SpRAy (Lapuschkin et al. 2019, 1902.10178)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxcam.auditing.shortcuts import FEWEST
from onnxcam.auditing.table import AuditTable
from onnxcam.auditing.views import map_points

__all__ = ["MOST", "NEIGHBOURS", "SAMPLE", "Cluster", "clusters", "spectral"]

SAMPLE = 1000
"""Rows of a class that are clustered; a larger class is sampled."""
NEIGHBOURS = 10
"""Nearest neighbours of a row that the graph connects it with."""
MOST = 10
"""Largest number of clusters of a class."""


@dataclass(frozen=True)
class Cluster:
    """One cluster of a class.

    Attributes:
        label: Class.
        of: ``maps`` or ``features``.
        number: From 1, the smallest cluster first.
        ids: Its pictures.
        share: Of the clustered rows of the class.
        border: Mean share of the map at the border; NaN if there are no maps.
    """

    label: str
    of: str
    number: int
    ids: tuple[str, ...]
    share: float
    border: float


def clusters(table: AuditTable, seed: int = 0) -> list[Cluster]:
    """Return the clusters of each class of at least 20 rows.

    Their number is where the eigenvalues of the graph's normalised Laplacian have their largest gap.
    """
    rng = np.random.default_rng(seed)
    border = table.numbers("map_border")
    found: list[Cluster] = []
    for label in table.classes:
        rows = np.flatnonzero((table.labels == label) & table.heat.any((1, 2)))
        if len(rows) < FEWEST:
            continue
        rows = np.sort(rng.choice(rows, SAMPLE, replace=False)) if len(rows) > SAMPLE else rows
        found += _named(table, label, "maps", rows, spectral(map_points(table.heat[rows]), seed), border)
        features = table.features(rows)
        if features is not None:
            spread = features.std(axis=0)
            points = (features - features.mean(axis=0)) / np.maximum(spread, 1e-3 * max(float(spread.max()), 1e-30))
            found += _named(table, label, "features", rows, spectral(points, seed), border)
    return found


def _named(
    table: AuditTable,
    label: str,
    of: str,
    rows: NDArray[np.int64],
    numbers: NDArray[np.int64],
    border: NDArray[np.float64],
) -> list[Cluster]:
    groups = sorted((rows[numbers == number] for number in np.unique(numbers)), key=len)
    return [
        Cluster(
            label,
            of,
            number,
            tuple(dict.fromkeys(table.ids[at] for at in group)),
            len(group) / len(rows),
            float(np.nanmean(border[group])) if np.isfinite(border[group]).any() else float("nan"),
        )
        for number, group in enumerate(groups, 1)
    ]


def spectral(points: NDArray[np.float32], seed: int = 0) -> NDArray[np.int64]:
    """Return the cluster of each of *points* [N, D], int [N], from 0; one where the points form one."""
    from scipy.linalg import eigh
    from scipy.sparse.csgraph import laplacian
    from sklearn.cluster import KMeans
    from sklearn.neighbors import kneighbors_graph

    graph = kneighbors_graph(points, min(NEIGHBOURS, len(points) - 1)).toarray()
    graph = np.maximum(graph, graph.T)
    last = min(MOST, len(points) - 1)
    values, vectors = eigh(laplacian(graph, normed=True), subset_by_index=(0, last))
    number = int(np.diff(values).argmax()) + 1
    if number == 1:
        return np.zeros(len(points), np.int64)
    found = vectors[:, :number]
    found = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    return np.asarray(KMeans(number, n_init=4, random_state=seed).fit_predict(found), np.int64)
