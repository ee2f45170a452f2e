"""Compare two recordings. Images are matched by the hash of their file; the steps are those of `validate`."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from onnxcam.compare import checks
from onnxcam.compare.agreement import MAP_METRICS
from onnxcam.compare.image_comparison import compare_outcomes
from onnxcam.compare.journal import discarding, open_journal
from onnxcam.compare.layer_recordings import compare_recorded_layers
from onnxcam.compare.object_masks import ImageObjects
from onnxcam.compare.outcome import ModelInfo, Outcome
from onnxcam.compare.pairing import OTHER_THINGS, paired
from onnxcam.compare.recording_files import NO_MAPS
from onnxcam.compare.recordings import Recording
from onnxcam.compare.report.folder import refuse_finished
from onnxcam.compare.summary import conclude
from onnxcam.compare.thresholds import Requirement, parse
from onnxcam.compare.validation import Validation
from onnxcam.errors import RecordingError
from onnxcam.metrics.evaluation_run import require_scipy
from onnxcam.metrics.truth import Truth
from onnxcam.paths import PathLike
from onnxcam.progress import Progress, Told, quiet, untold, values_in_words

__all__ = ["Rows", "compare_recordings", "differing_cuts", "geometry", "guesses", "with_geometry"]

Rows: TypeAlias = list[tuple[int, int]]

_GEOMETRY = ("resize", "crop", "letterbox")
_NUMBERS = ("range", "mean", "std", "order")
_NAMED = 3  # images listed in a message


def compare_recordings(
    reference: PathLike,
    candidate: PathLike,
    directory: PathLike | None = None,
    *,
    common: bool = False,
    force: bool = False,
    truth: PathLike | Truth | None = None,
    require: str | None = None,
    overwrite: bool = False,
    images: Sequence[PathLike] = (),
    layers: bool = False,
    progress: Progress = quiet,
    told: Told = untold,
) -> Validation:
    """Compare two recordings of the same images.

    Args:
        reference: Reference recording (a folder).
        candidate: Recording to check against the reference (a folder).
        directory: As for `onnxcam.compare.validate.validate`.
        common: Compare only the images that both have; otherwise a difference raises RecordingError.
        force: Warn if the methods, or the cropping and scaling, differ; otherwise raise RecordingError.
        truth: Ground truth, see `onnxcam.metrics.Truth`.
        require: Requirements, see `onnxcam.compare.thresholds`; None: those of the task (docs/validate.md).
        overwrite: Replace the contents of *directory*.
        images: Folders with images. The report shows images in these folders; it opens no other file named in a
            recording.
        layers: Also compare layer by layer; both recordings need their layers (``record(…, layers=True)``).
        progress: Progress callback, see `onnxcam.progress`.
        told: Takes each comparison in words, as soon as it is there.

    Raises:
        RecordingError: a recording is incomplete or damaged, or the two do not match.
        MetricError: the classes differ, or *require* cannot be parsed.

    Example:
        >>> compare_recordings("host", "device", "out").passed
    """
    start = time.monotonic()
    require_scipy("compare", "edge")
    stated = None if require is None else parse(require)
    if directory is not None:
        refuse_finished(Path(directory), overwrite)
    first, second = Recording(reference), Recording(candidate)
    known = Truth(truth) if isinstance(truth, str | os.PathLike) else truth
    requirements = _defaults(first, second) if stated is None else stated
    checks.require_comparable(first, second, requirements, known)
    warnings = [
        f"{side}: {one}" for side, seen in (("reference", first), ("candidate", second)) for one in seen.warnings
    ]
    warnings += _refuse_other_ways(first, second, force)
    levels = compare_recorded_layers(first, second) if layers else []
    rows, left = _matched(first, second, common)
    in_order = _explain_the_same(first, second)
    identity = {"reference": first.seal, "candidate": second.seal, "pictures": len(rows)}
    names = [first.pictures[row]["name"] for row, _ in rows]
    labels = first.class_names or second.class_names
    journal = open_journal(directory, identity | _truth_identity(known), overwrite, names)
    try:
        for number, (row, other) in enumerate(progress(rows, len(rows))):
            if number not in journal.done:
                one, two = _paired(first[row], second[other], in_order)
                objects = ImageObjects.of(known, one.picture, one.size)
                masks = objects.of_outcome(one, first.classes, first.class_names)
                compared = compare_outcomes(one, two, *masks, names=labels)
                if first.objects(row) and not one.maps:
                    compared = replace(compared, notes=(*compared.notes, OTHER_THINGS))
                journal.add(number, compared)
                told(f"{compared.picture}: {values_in_words(compared.values)}")
    except BaseException:
        journal.leave()
        raise
    journal.release()
    warnings += left + _other_objects(first, second, rows)
    unreadable = list(dict.fromkeys([*first.unreadable, *second.unreadable]))
    with discarding(journal):
        found = conclude(
            first.info, second.info, journal, requirements, unreadable, warnings, labels, first.prediction, known
        )
    found.levels = levels
    found.doubt = "" if found.meets else _doubt(first, second)
    found.folders, found.damaged = [os.fspath(one) for one in images], journal.damaged
    found.seconds = time.monotonic() - start
    return found


def _defaults(first: Recording, second: Recording) -> list[Requirement]:
    """Return the requirements of the task, without those of maps if a recording could have none."""
    mapless = any(one.info.method == NO_MAPS for one in (first, second))
    return [one for one in parse(first.prediction.defaults) if not (mapless and one.metric in MAP_METRICS)]


def _truth_identity(truth: Truth | None) -> dict[str, str | None]:
    return {"truth": None} if truth is None else {"truth": str(truth.path), "mask values": truth.values}


def _refuse_other_ways(first: Recording, second: Recording, force: bool) -> list[str]:
    """Raise RecordingError if methods or image geometry differ; return warnings instead if *force*."""
    found = []
    if not (first.has_maps and second.has_maps):
        whose = ", ".join(f"'{one.name}'" for one in (first, second) if not one.has_maps)
        found.append(f"there are no maps in {whose}: only predictions are compared")
    differing = []
    if first.has_maps and second.has_maps and first.info.method != second.info.method:
        differing.append(
            f"the methods differ, {first.info.method} in '{first.name}', {second.info.method} in '{second.name}'"
        )
    targets = [one.target for one in (first, second)]
    if None not in targets and targets[0] != targets[1]:
        found.append(f"the targets differ: {targets[0]} in '{first.name}', {targets[1]} in '{second.name}'")
    sides = [(f"'{one.name}'", one.info) for one in (first, second)]
    if cuts := differing_cuts(*sides):
        differing.append(f"{cuts}{_guess_note(sides)}")
    if differing and not force:
        raise RecordingError(f"{'; '.join(differing)}; record one of them again, or give --force")
    return found + differing


def _doubt(first: Recording, second: Recording) -> str:
    """Return that the models got different numbers, if one of the preprocessings is a guess; else an empty text."""
    numbers = [_fields(one.info.preprocess, _NUMBERS) for one in (first, second)]
    note = _guess_note([(f"'{one.name}'", one.info) for one in (first, second)])
    if numbers[0] == numbers[1] or not note:
        return ""
    return f"the two models got different inputs, {numbers[0]} in '{first.name}', {numbers[1]} in '{second.name}'{note}"


def differing_cuts(first: tuple[str, ModelInfo], second: tuple[str, ModelInfo]) -> str:
    """Return how cropping and scaling of two models, each with its name, differ; empty if they do not."""
    ways = [geometry(info.preprocess) for _, info in (first, second)]
    if not all(ways) or ways[0] == ways[1]:
        return ""
    return f"images are cropped and scaled differently, {ways[0]} in {first[0]}, {ways[1]} in {second[0]}"


def _guess_note(sides: Sequence[tuple[str, ModelInfo]]) -> str:
    """Return which preprocessings are guesses and what to do, to end a message; empty if none is."""
    said = guesses(*sides)
    return said and f" ({said}: record it again with --preprocess)"


def guesses(*sides: tuple[str, ModelInfo]) -> str:
    """Return which preprocessings are guesses; empty if none is."""
    guessed = [name for name, info in sides if info.preprocess_source == "guess"]
    return f"a guess in {' and '.join(guessed)}" if guessed else ""


def geometry(preprocess: str) -> str:
    """Return the cropping and scaling options of a preprocessing string (docs/preprocess.md), "" if it has none."""
    return _fields(preprocess, _GEOMETRY)


def with_geometry(preprocess: str, other: str) -> str:
    """Return the preprocessing string with the cropping and scaling of *other*."""
    rest = [part for part in preprocess.split(",") if part.partition("=")[0] not in _GEOMETRY]
    return ",".join([geometry(other), *rest])


def _fields(preprocess: str, names: Collection[str]) -> str:
    """Return the options of a preprocessing string that are in *names*."""
    return ",".join(part for part in preprocess.split(",") if part.partition("=")[0] in names)


def _matched(first: Recording, second: Recording, common: bool) -> tuple[Rows, list[str]]:
    """Return the rows of each common image, in the order of *first*, and warnings about the other images."""
    places = [{one["sha256"]: row for row, one in reversed([*enumerate(seen.pictures)])} for seen in (first, second)]
    both = [sha256 for sha256 in dict.fromkeys(one["sha256"] for one in first.pictures) if sha256 in places[1]]
    only = [_names(seen, own.keys() - set(both)) for seen, own in zip((first, second), places, strict=True)]
    only_in_one = [
        f"{len(names)} only in '{seen.name}' ({', '.join(names[:_NAMED])}{', …' if len(names) > _NAMED else ''})"
        for seen, names in zip((first, second), only, strict=True)
        if names
    ]
    if not both:
        raise RecordingError(f"'{first.name}' and '{second.name}' have no image in common (by the files' hashes)")
    if only_in_one and not common:
        raise RecordingError(f"the images differ: {', '.join(only_in_one)}; --common compares the {len(both)} of both")
    rows = [(places[0][sha256], places[1][sha256]) for sha256 in both]
    for row, other in rows:
        sizes = [tuple(seen.pictures[at]["size"]) for seen, at in ((first, row), (second, other))]
        if sizes[0] != sizes[1]:
            raise RecordingError(
                f"{first.pictures[row]['name']} is {_size_words(sizes[0])} in '{first.name}' and "
                f"{_size_words(sizes[1])} in '{second.name}'; one of the two sizes is wrong"
            )
    differing = f"the images differ: {', '.join(only_in_one)}; compared are the {len(both)} of both"
    return rows, [differing] * bool(only_in_one) + _twice(first, second, places)


def _twice(first: Recording, second: Recording, places: Sequence[Collection[str]]) -> list[str]:
    """Return a warning for each recording that holds the same image several times, by its hash."""
    counts = [(seen, len(seen) - len(own)) for seen, own in zip((first, second), places, strict=True)]
    return [
        f"{count} of the {len(seen)} images in '{seen.name}' are duplicates of others in it; each counts once"
        for seen, count in counts
        if count
    ]


def _size_words(size: Sequence[int]) -> str:
    """Return the size in words: of an image, height × width."""
    return " × ".join(map(str, size)) + " (H × W)" * (len(size) == 2)


def _names(recording: Recording, hashes: Collection[str]) -> Sequence[str]:
    return [one["name"] for one in recording.pictures if one["sha256"] in hashes]


def _paired(one: Outcome, other: Outcome, in_order: bool) -> tuple[Outcome, Outcome]:
    """Return both outcomes with the maps of what both explain."""
    pairs = paired(one.maps, other.maps, in_order)
    first, second = (tuple(pair[side] for pair in pairs) for side in (0, 1))
    return replace(one, maps=first), replace(other, maps=second)


def _explain_the_same(first: Recording, second: Recording) -> bool:
    """Return whether both explain the same things in the same order: those of one recording; of classifiers, one."""
    return first.explains == second.explains or first.classes is not None


def _other_objects(first: Recording, second: Recording, rows: Rows) -> list[str]:
    """Return a warning if the maps of some things are not compared, because the second explains others."""
    if not (first.has_maps and second.has_maps):
        return []
    if first.classes is not None:
        count = sum(first.objects(row)[0].index != second.objects(other)[0].index for row, other in rows)
        told = f"the two explain different classes of {count} of {len(rows)} images, whose maps are not compared"
    else:
        in_order = _explain_the_same(first, second)
        total = sum(len(first.objects(row)) for row, _ in rows)
        count = total - sum(len(paired(first.objects(row), second.objects(other), in_order)) for row, other in rows)
        told = f"'{second.name}' does not explain {count} of the {total} objects of '{first.name}', whose maps are "
        told += "not compared"
    return [f"{told}; record the second with --explain-from '{first.name}'"] if count else []
