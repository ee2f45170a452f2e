"""Runner for devices: run a packed model on images and write a recording. This file imports nothing of onnxcam.

It needs Python 3.8, NumPy and ONNX Runtime. `onnxcam pack` copies it as ``run.py`` next to the model. Therefore
`RecordingWriter` (docs/recording.md), which onnxcam uses too, is defined here.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

FORMAT, PACK, VERSION = "onnxcam-recording", "onnxcam-pack", 1  # VERSION of a recording of a classifier, and of a pack
MODEL = "model.onnx"  # in a recording of outputs: the model that reads them
MAPS, CHOSEN = "onnxcam.map", "onnxcam.class.chosen"  # outputs of a baked model
COSINE = "onnxcam.cosine"
BOXES, SCORES, CLASSES = "onnxcam.boxes", "onnxcam.scores", "onnxcam.classes"
OBJECTS_VERSION = 2  # of a recording of another task
DONE, PART = "recording.json", "recording.part"
SEAL = b'"seal"'
CRC = b', "crc32": "'
TENSORS = {  # files of raw numbers, by the version of the recording: 1 of classifiers, 2 of all other tasks
    1: {"scores": "<f4", "maps": "<f4", "classes": "<i8"},
    2: {"arrays": "|u1", "maps": "<f4"},
}
NAMES = {"<f4": "float32", "<i8": "int64", "|u1": "uint8"}
SIZES = {"<f4": 4, "<i8": 8, "|u1": 1}  # bytes
EVERY = 2.0  # seconds between syncs to disk


class RunnerError(Exception):
    """Error with a one-line message."""


class DiskError(RunnerError):
    """Error of the disk: full, failing, or no permission."""


class RecordingWriter:
    """Write a recording image by image; `close` completes it.

    An unfinished recording with the same *header* (the content of ``recording.json`` except images and tensors) is
    resumed: `already` says which images it has, ``damaged`` is a warning if some were damaged, otherwise "".

    Raises:
        RunnerError: the folder holds a finished or another recording, or another run writes it.
        DiskError: writing fails; raised by all methods.
    """

    def __init__(self, folder: str | os.PathLike[str], header: dict[str, Any]) -> None:
        self.folder, self.header = Path(folder), header
        self.pictures: list[dict[str, Any]] = []
        self.damaged = ""
        self._kinds = TENSORS[header["version"]]
        self._ends = dict.fromkeys(self._kinds, 0)
        self._files: dict[str, Any] = {}
        self._pending: list[bytes] = []
        self._synced = time.monotonic()
        part = self.folder / PART
        self._made = [one for one in (part, *part.parents) if not os.path.lexists(str(one))]
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._refuse_whole()
            self._part = _locked(self.folder / PART)
            try:
                self._refuse_whole()
                self._take_up()
            except BaseException:
                self._shut()
                raise
        self._before = Counter((picture["name"], picture["sha256"]) for picture in self.pictures)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn OSError into DiskError."""
        try:
            yield
        except OSError as error:
            raise DiskError(
                f"cannot write into '{self.folder}': {error.strerror}; make room there, or choose another folder"
            ) from None

    def _refuse_whole(self) -> None:
        if os.path.exists(str(self.folder / DONE)):
            raise RunnerError(f"'{self.folder}' holds a recording; choose another folder, or delete it")

    def _refuse_others(self) -> None:
        """Raise RunnerError if the folder holds tensors of no known recording."""
        for name in self._kinds:
            file = self.folder / f"{name}.bin"
            if file.exists() and file.stat().st_size:
                raise RunnerError(f"'{file}' is of no known recording; choose another folder, or delete it")

    def _take_up(self) -> None:
        """Read the intact part of the files and cut off the rest."""
        first, lines = self._lines()
        self._seed = zlib.crc32(first)
        self._end = len(first)
        for name in self._kinds:
            self._files[name] = _opened(self.folder / f"{name}.bin")
        for number, line in enumerate(lines, 2):
            picture = self._read(line)
            if picture is None:
                self.damaged = (
                    f"'{self.folder / PART}' is damaged in line {number}, or its numbers are: that image and those "
                    "after it are done again"
                )
                break
            self.pictures.append(picture)
            self._end += len(line)
        self._part.truncate(self._end)
        for name, file in self._files.items():
            file.truncate(self._ends[name])

    def _lines(self) -> tuple[bytes, list[bytes]]:
        """Return the first line (written if missing) and the others, without an incomplete last line."""
        lines = self._part.read().splitlines(True)
        if lines and not lines[-1].endswith(b"\n") and (lines[1:] or _begins(lines[0])):
            lines.pop()
        if not lines:
            self._refuse_others()
            lines = [line_of(self.header)]
            _put(self._part, lines[0], 0)
        try:
            found = entry_of(lines[0])
        except ValueError:
            raise RunnerError(
                f"'{self.folder}' is damaged: {PART} does not begin as this version begins it; delete the folder, and "
                "start again"
            ) from None
        header = json.loads(json.dumps(self.header))
        if found != header:
            parts = ", ".join(differing(found, header))
            raise RunnerError(
                f"'{self.folder}' holds the beginning of another recording ({parts}); choose another folder"
            )
        return lines[0], lines[1:]

    def _read(self, line: bytes) -> dict[str, Any] | None:
        """Return the image entry of a line; None if the line or its tensors are damaged."""
        try:
            picture = entry_of(line, self._seed)
            ends, sum_ = picture.pop("ends"), picture.pop("sum")
            lengths = {name: ends[name] - self._ends[name] for name in self._kinds}
            hash((picture["name"], picture["sha256"]))
        except (ValueError, KeyError, TypeError):
            return None
        if not all(isinstance(length, int) and length >= 0 for length in lengths.values()):
            return None
        found = 0
        for name, length in lengths.items():
            there = os.fstat(self._files[name].fileno()).st_size
            if ends[name] > there:
                raise RunnerError(
                    f"'{self.folder}' is damaged: {name}.bin is too short; delete the folder, and start again"
                )
            self._files[name].seek(self._ends[name])
            found = zlib.crc32(self._files[name].read(length), found)
        if found != sum_:
            return None
        self._ends = {name: ends[name] for name in self._kinds}
        return picture

    def already(self, picture: dict[str, Any]) -> bool:
        """Whether the resumed recording holds the *picture* (name, sha256); each recorded copy counts once."""
        key = (picture["name"], picture["sha256"])
        self._before[key] -= 1
        return self._before[key] >= 0

    def add(self, picture: dict[str, Any], scores: Any, map: Any, chosen: int) -> None:
        """Append a *picture* (name, sha256, size, frame, why): its *scores* [K] and the *map* [h, w] of class *chosen*.

        If *map* is None, ``why`` gives the reason.
        """
        picture = dict(picture, map=None if map is None else lengths_of(map))
        self._append(picture, {"scores": [scores], "maps": [] if map is None else [map], "classes": [[chosen]]})

    def add_objects(self, picture: dict[str, Any], arrays: dict[str, Any], objects: list[dict[str, Any]]) -> None:
        """Append a *picture* (name, sha256, size, frame) to a recording of version 2.

        *arrays* are NumPy arrays by name; *objects* are what is explained (docs/recording.md), each with its ``map``
        [h, w] or None.
        """
        forms = {name: {"dtype": array.dtype.name, "shape": lengths_of(array)} for name, array in arrays.items()}
        maps = [one["map"] for one in objects if one["map"] is not None]
        told = [dict(one, map=None if one["map"] is None else lengths_of(one["map"])) for one in objects]
        self._append(dict(picture, arrays=forms, objects=told), {"arrays": list(arrays.values()), "maps": maps})

    def _append(self, picture: dict[str, Any], arrays: dict[str, list[Any]]) -> None:
        """Append the *arrays* for each file, and the entry of *picture*."""
        ends, sum_ = dict(self._ends), 0
        for kind, parts in arrays.items():
            data = b"".join(_bytes(part, self._kinds[kind]) for part in parts)
            with self._writing():
                _put(self._files[kind], data, ends[kind])
            ends[kind] += len(data)
            sum_ = zlib.crc32(data, sum_)
        self._pending.append(line_of(dict(picture, ends=ends, sum=sum_), self._seed))
        self.pictures.append(picture)
        self._ends = ends
        if time.monotonic() - self._synced > EVERY:
            self.sync()

    def sync(self) -> None:
        """Sync to disk: tensors first, so that a line never refers to missing data."""
        lines = b"".join(self._pending)
        with self._writing():
            for file in self._files.values():
                os.fsync(file.fileno())
            _put(self._part, lines, self._end)
            os.fsync(self._part.fileno())
        self._end += len(lines)
        self._pending.clear()
        self._synced = time.monotonic()

    def close(self, unreadable: Any = (), warnings: Any = (), layers: Any = None, models: Any = ()) -> None:
        """Complete the recording, which has at least one image: write ``recording.json`` atomically.

        *unreadable* are (path, reason) of skipped images; *warnings* are shown when the recording is compared;
        *layers* describes a file of layers (docs/recording.md); *models* are the files that read recorded
        outputs, which are copied.
        """
        try:
            self.sync()
            bad = [{"name": name, "why": why} for name, why in unreadable]
            with self._writing():
                body = {"pictures": self.pictures, "tensors": self._tensors(), "unreadable": bad}
                body.update({} if layers is None else {"layers": layers})
                body.update({"reading": {"files": self._copied(models)}} if models else {})
                _replace(self.folder / DONE, sealed(dict(self.header, **body, warnings=list(warnings))))
        finally:
            self._shut()
        with contextlib.suppress(OSError):  # another run may hold it open
            (self.folder / PART).unlink()

    def _copied(self, models: list[Path]) -> dict[str, str]:
        """Copy *models* beside the numbers; return the hash of each by its name."""
        for model in models:
            shutil.copyfile(str(model), str(self.folder / model.name))
        return {model.name: digest(self.folder / model.name) for model in models}

    def _tensors(self) -> dict[str, Any]:
        """Return the tensor entries of ``recording.json``."""
        count = len(self.pictures)
        shapes = {name: [self._ends[name] // SIZES[kind]] for name, kind in self._kinds.items()}
        if "scores" in shapes:
            shapes["scores"] = [count, shapes["scores"][0] // count]
        return {
            name: {
                "file": f"{name}.bin",
                "dtype": NAMES[self._kinds[name]],
                "order": "little",
                "shape": shape,
                "sha256": digest(self.folder / f"{name}.bin"),
            }
            for name, shape in shapes.items()
        }

    def leave(self) -> None:
        """Stop and sync; a writer with the same header resumes from here. Without an image nothing is left behind."""
        try:
            if not self._part.closed:
                self.sync()
        finally:
            self._shut()
        if not self.pictures and self.folder / PART in self._made:
            for name in [PART, *(f"{kind}.bin" for kind in self._kinds)]:
                with contextlib.suppress(OSError):
                    os.unlink(str(self.folder / name))
            for folder in self._made[1:]:
                with contextlib.suppress(OSError):
                    folder.rmdir()

    def _shut(self) -> None:
        for file in [*self._files.values(), self._part]:
            with contextlib.suppress(OSError):
                file.close()


def lengths_of(array: Any) -> list[int]:
    """Return the shape of *array*."""
    import numpy as np

    return [int(length) for length in np.shape(array)]


def _bytes(array: Any, kind: str) -> bytes:
    """Return the numbers of *array* in little-endian order, as *kind*; for a file of bytes, as they are."""
    import numpy as np

    array = np.asarray(array)
    wanted = array.dtype.newbyteorder("<") if kind == "|u1" else kind
    return np.ascontiguousarray(array, wanted).tobytes()


def line_of(entry: dict[str, Any], seed: int = 0) -> bytes:
    """Return *entry* as a line of JSON with a checksum at its end; *seed* starts the checksum."""
    body = json.dumps(entry, allow_nan=False)[:-1].encode()
    return body + CRC + b'%08x"}\n' % zlib.crc32(body, seed)


def entry_of(line: bytes, seed: int = 0) -> dict[str, Any]:
    """Return the entry in a line, the inverse of `line_of`; raise ValueError if the line is damaged."""
    body, _, end = line.rpartition(CRC)
    if end != b'%08x"}\n' % zlib.crc32(body, seed):
        raise ValueError("the checksum differs")
    try:
        found = json.loads((body + b"}").decode())
    except RecursionError:
        found = None
    if not isinstance(found, dict):
        raise ValueError("it is no object")
    return found


def _begins(line: bytes) -> bool:
    """Whether *line* is the beginning of a first line."""
    begin = b'{"format": "' + FORMAT.encode()
    return line.startswith(begin) or begin.startswith(line)


def _locked(part: Path) -> Any:
    """Open and lock the file *part* until it is closed or this process ends."""
    while True:
        file = _opened(part)
        if not _lock(file):
            file.close()
            raise RunnerError(f"another run writes '{part.parent}'; wait until it ends, or choose another folder")
        with contextlib.suppress(OSError):
            if os.path.samestat(
                os.stat(str(part)), os.fstat(file.fileno())
            ):  # otherwise it was deleted in the meantime
                return file
        file.close()


def _lock(file: Any) -> bool:
    """Lock *file* until it is closed, if the file system can; return False if another process holds the lock."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(2**30)  # far behind the content, which stays readable
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            file.seek(0)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return not isinstance(error, (BlockingIOError, PermissionError))
    return True


def _opened(path: Path) -> Any:
    """Open the file unbuffered; create it if missing."""
    return os.fdopen(os.open(str(path), os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b", 0)


def _put(file: Any, data: bytes, place: int) -> None:
    file.seek(place)
    while data:
        data = data[file.write(data) :]


def _replace(path: Path, data: bytes) -> None:
    """Write *data* to *path* atomically."""
    draft = path.with_name(path.name + ".draft")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(str(draft), str(path))
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


def sealed(whole: dict[str, Any]) -> bytes:
    """Return *whole* as the text of ``recording.json``; it ends with the hash of the text before."""
    body = json.dumps(whole, indent=1)[:-2].encode() + b",\n "
    return body + SEAL + b': "' + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


def digest(*paths: Path) -> str:
    """Return the SHA-256 of the files, one after the other, as hexadecimal digits."""
    found = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            for piece in iter(lambda: file.read(1 << 20), b""):
                found.update(piece)
    return found.hexdigest()


def differing(one: dict[str, Any], other: dict[str, Any], where: str = "") -> list[str]:
    """Return the paths of the keys that differ between two JSON objects."""
    found: list[str] = []
    for key in sorted({*one, *other}):
        a, b = one.get(key), other.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differing(a, b, f"{where}{key}.")
        elif a != b:
            found.append(where + key)
    return found


def read_picture(path: Path) -> Any:
    """Read an image as uint8 RGB [H, W, 3]: .npy, binary .ppm or .pgm, and with Pillow its formats."""
    import numpy as np

    if not os.path.isfile(str(path)):
        raise RunnerError(f"{path}: no such file; check the name")
    try:
        with path.open("rb") as file:
            data = file.read() if file.peek(2)[:2] in (b"P5", b"P6") else b""
    except OSError as error:
        raise RunnerError(f"{path}: cannot be read: {error.strerror}; check the file") from None
    if data:
        picture = _netpbm(data, path)
    elif path.suffix.lower() == ".npy":
        try:
            picture = np.array(np.lib.format.open_memmap(str(path), mode="r"))
        except Exception:  # damaged files raise many kinds of errors
            raise RunnerError(f"{path}: is no .npy file, or is cut off") from None
    else:
        picture = _by_pil(path)
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise RunnerError(f"{path}: is {picture.dtype} {list(picture.shape)}; an image is uint8 [H, W, 3] in RGB order")
    return picture


def _netpbm(data: bytes, path: Path) -> Any:
    """Return the pixels of a binary PPM [H, W, 3] or PGM [H, W]."""
    import numpy as np

    words: list[bytes] = []
    at = 0
    while len(words) < 4 and at < len(data):
        end = at
        while end < len(data) and not data[end : end + 1].isspace():
            end += 1
        if data[at : at + 1] == b"#":
            end = data.find(b"\n", at) % (len(data) + 1)
        elif end > at:
            words.append(data[at:end])
        at = end + 1
    if len(words) < 4 or not all(word.isdigit() and len(word) < 7 for word in words[1:]) or words[3] != b"255":
        raise RunnerError(f"{path}: is no PPM or PGM of 8 bits; save it as one of 0 to 255")
    shape = [int(words[2]), int(words[1]), 3 if words[0] == b"P6" else 1]
    count = shape[0] * shape[1] * shape[2]
    if len(data) - at < count:
        raise RunnerError(f"{path}: the image is cut off; copy it again")
    pixels = np.frombuffer(data, np.uint8, count, at).reshape(shape)
    return pixels if shape[2] == 3 else pixels[..., 0]


def _by_pil(path: Path) -> Any:
    import numpy as np

    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise RunnerError(
            f"{path}: without Pillow only .npy, .ppm and .pgm are read; save it as one of these"
        ) from None
    try:
        with Image.open(str(path)) as opened:
            return np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    except Exception:  # damaged files raise many kinds of errors
        raise RunnerError(f"{path}: is no image that Pillow reads, or is damaged") from None


class DevicePack:
    """Content of a pack: ``pack.json``, the model, and optional preprocessed images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.manifest = json.loads((folder / "pack.json").read_text("utf-8"))
        except (OSError, ValueError):
            raise RunnerError(f"no pack.json in '{folder}'; unpack the whole zip and run its run.py") from None
        if not isinstance(self.manifest, dict) or not isinstance(self.manifest.get("files"), dict):
            raise RunnerError(f"'{folder / 'pack.json'}' is damaged; unpack the zip again")
        if self.manifest.get("format") != PACK or self.manifest.get("version") != VERSION:
            raise RunnerError(f"'{folder / 'pack.json'}' is of another version; make the pack again")
        for name, sha256 in self.manifest["files"].items():
            if not (folder / name).is_file() or digest(folder / name) != sha256:
                raise RunnerError(f"'{folder / name}' is missing or damaged; unpack the zip again")

    @property
    def file(self) -> Path:
        """Path of the model."""
        return self.folder / str(self.manifest["model"])

    @property
    def models(self) -> list[Path]:
        """The model's files: itself, and its weights if they are beside it."""
        return [self.folder / name for name in self.manifest["files"] if name.startswith(self.file.name)]

    def session(self, provider: str, threads: int) -> Any:
        """Open the model in ONNX Runtime."""
        import onnxruntime  # noqa: TID251 - this file runs where onnxcam is not

        there = onnxruntime.get_available_providers()
        wanted = [name for name in there if name.lower().startswith("cpu")]
        if provider == "auto":
            wanted = [name for name in there if name.startswith("CUDA")] + wanted
        else:
            found = [name for name in there if name.lower().startswith(provider.lower())]
            if not found:
                raise RunnerError(f"no provider {provider!r} in this onnxruntime; there is {', '.join(there)}")
            wanted = list(dict.fromkeys(found[:1] + wanted))
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 4, threads
        try:
            return onnxruntime.InferenceSession(str(self.file), options, providers=wanted)
        except Exception as error:  # of any kind
            raise RunnerError(f"ONNX Runtime refuses the model: {_first(error)}") from error

    def count(self, paths: list[Path]) -> int:
        """Return the number of images; raise RunnerError if the arguments do not fit the pack."""
        if paths and self.manifest["tensors"]:
            raise RunnerError("the pack contains its images; give none")
        if not paths and not self.manifest["tensors"]:
            raise RunnerError("give images of the model's input size: .npy, .ppm or .pgm")
        return len(paths or self.manifest["pictures"])

    def each(
        self, paths: list[Path], already: Callable[[dict[str, Any]], bool], bad: list[tuple[str, str]]
    ) -> Iterator[tuple[dict[str, Any], Any]]:
        """Yield each image that is not recorded *already* and its tensor [1, ...]; add unreadable ones to *bad*."""
        import numpy as np

        if self.manifest["tensors"]:
            kind = self.manifest["tensors"]
            shape = tuple(kind["shape"])
            tensors = np.memmap(str(self.folder / kind["file"]), np.dtype(kind["dtype"]), "r", shape=shape)
            for row, picture in enumerate(self.manifest["pictures"]):
                if not already(picture):
                    yield picture, np.array(tensors[row : row + 1])
        for path in paths:
            try:
                pixels = read_picture(path)
                self._fit(pixels, path)
            except RunnerError as error:
                bad.append((str(path), str(error)))
                continue
            picture = {"name": str(path), "sha256": digest(path), "size": list(pixels.shape[:2])}
            if not already(picture):
                yield picture, pixels[None]

    def _fit(self, pixels: Any, path: Path) -> None:
        wanted = self.manifest["size"]
        if any(isinstance(length, int) and length != have for length, have in zip(wanted, pixels.shape)):  # noqa: B905
            have = f"{pixels.shape[1]} x {pixels.shape[0]}"
            raise RunnerError(f"{path}: is {have} pixels, the model takes {wanted[1]} x {wanted[0]}; scale it first")


def record(pack: DevicePack, asked: argparse.Namespace) -> int:
    """Run the model on the images and write a recording; return the number of images in it."""
    import numpy as np

    manifest, total = pack.manifest, pack.count(asked.pictures)
    session = pack.session(asked.provider, asked.threads)
    model = dict(manifest["header"]["model"], provider=session.get_providers()[0])
    writer = RecordingWriter(asked.output, dict(manifest["header"], model=model))
    batch = session.get_inputs()[0].shape[0]
    constants = {name: np.array(one["values"], one["dtype"]) for name, one in manifest.get("feeds", {}).items()}
    bad: list[tuple[str, str]] = []
    try:
        for picture, tensor in pack.each(asked.pictures, writer.already, bad):
            feeds = {manifest["input"]: np.repeat(tensor, batch, 0) if isinstance(batch, int) else tensor}
            feeds.update(constants)
            if manifest["wanted"]:
                feeds[manifest["wanted"]] = np.array(
                    [manifest["classes"].get(picture["sha256"], asked.class_)] * len(tensor)
                )
            found = _ask(session, manifest["outputs"], feeds, picture["name"])
            if "arrays" in manifest:
                _add_outputs(writer, manifest, picture, found, [tensor.shape[axis] for axis in manifest["space"]])
            else:
                _add_scores(writer, manifest, picture, [output[0] for output in found.values()])
            _show(f"{len(writer.pictures)} / {total}")
        if not writer.pictures:
            raise RunnerError(f"none of the {total} images can be read; the first: {bad[0][1]}")
    except BaseException:
        writer.leave()
        raise
    writer.close(bad, manifest["warnings"], models=pack.models if "arrays" in manifest else ())
    for why in [*filter(None, [writer.damaged]), *(why for _, why in bad)]:
        print(f"warning: {why}", file=sys.stderr)
    return len(writer.pictures)


def _add_scores(writer: RecordingWriter, manifest: dict[str, Any], picture: dict[str, Any], found: list[Any]) -> None:
    """Write the scores, the map and the class of a classifier."""
    import numpy as np

    scores, heat, chosen = found
    real = np.asarray(scores, np.float64).reshape(-1)
    if manifest["units"]:
        real = (real - manifest["units"][1]) * manifest["units"][0]
    if manifest.get("pair"):  # one number for the second of two classes
        is_probability = manifest["header"]["scores"]["head"] == "sigmoid"
        real = np.concatenate([1 - real, real] if is_probability else [-real / 2, real / 2])
    writer.add(
        picture, real, heat if heat is None or heat.ndim > 1 else heat[None], int(chosen)
    )  # a signal has one row


def _add_outputs(
    writer: RecordingWriter, manifest: dict[str, Any], picture: dict[str, Any], found: dict[str, Any], space: list[int]
) -> None:
    """Write the outputs of a model as they are, and what is explained; *space* is the size of the input, [H, W]."""
    arrays = {name: found[name] for name in manifest["arrays"]}
    for name, array in arrays.items():
        if getattr(array, "dtype", None) is None or array.dtype.kind not in "fiub":
            raise RunnerError(f"output {name!r} is no array of numbers; record this model with `onnxcam record`")
    frame = picture.get("frame") or [0, 0, picture["size"][1], picture["size"][0]]
    objects = explained_objects(found, frame, space, manifest.get("explains", ""))
    writer.add_objects(dict(picture, tensor=[int(length) for length in space]), arrays, objects)


def explained_objects(
    found: dict[str, Any], frame: list[float], space: list[int], explains: str = ""
) -> list[dict[str, Any]]:
    """Return what a baked model explains, by the names of its outputs: detections with boxes, one class, or a cosine.

    *frame* is the part of the image that the input, of size *space*, covers; *explains* the target of the cosine.
    """
    if MAPS not in found or not (BOXES in found or CHOSEN in found or COSINE in found):
        return []
    maps = found[MAPS][0]
    if COSINE in found:
        cosine = None if explains == "top" else float(found[COSINE].reshape(-1)[0])
        return [_object(explains, None, cosine, None, maps)]
    if BOXES not in found:
        index = int(found[CHOSEN].reshape(-1)[0])
        return [_object(f"class={index}", index, None, None, maps)] if index >= 0 and maps.ndim == 2 else []
    x, y = (frame[2] - frame[0]) / space[1], (frame[3] - frame[1]) / space[0]
    objects = []
    for row, (box, score, index) in enumerate(
        zip(found[BOXES][0].tolist(), found[SCORES][0].tolist(), found[CLASSES][0].tolist())  # noqa: B905
    ):
        if score > 0 and index >= 0:
            placed = [frame[0] + box[0] * x, frame[1] + box[1] * y, frame[0] + box[2] * x, frame[1] + box[3] * y]
            objects.append(_object(f"detection={row}", int(index), score, placed, maps[row]))
    return objects


def _object(target: str, index: int | None, score: float | None, box: list[float] | None, heat: Any) -> dict[str, Any]:
    known = [x for x in [score, *(box or [])] if x is not None]
    if not all(abs(x) < 1e6 for x in known):  # NaN too
        score, box = None, None
    return {"target": target, "index": index, "score": score, "box": box, "map": heat, "why": ""}


def _ask(session: Any, outputs: list[str], feeds: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the *outputs* by their names."""
    try:
        return dict(zip(outputs, session.run(outputs, feeds)))  # noqa: B905
    except Exception as error:
        raise RunnerError(f"{name}: ONNX Runtime failed: {_first(error)}; run again to continue after it") from error


def _show(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text}", end="", file=sys.stderr, flush=True)


def _first(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def main() -> int:
    """Parse the command line and record. Invalid input ends with one line and exit code 2."""
    parser = argparse.ArgumentParser("run.py", description="Run the packed model on images and write a recording.")
    parser.add_argument("pictures", nargs="*", type=Path, help="images, if the pack has none: .npy, .ppm, .pgm")
    parser.add_argument("-o", "--output", type=Path, default=Path("run"), help="recording folder (run)")
    parser.add_argument("--provider", default="auto", help="execution provider of ONNX Runtime: auto, cpu, cuda, ...")
    parser.add_argument("--threads", type=int, default=0, help="threads per operator; 0: chosen by ONNX Runtime")
    parser.add_argument(
        "--class",
        dest="class_",
        type=int,
        default=-1,
        help="index of the class to explain, if the pack was made with --target input",
    )
    asked = parser.parse_args()
    start = time.monotonic()
    try:
        count = record(DevicePack(Path(__file__).resolve().parent), asked)
    except RunnerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; run again to resume", file=sys.stderr)
        return 130
    except Exception as error:  # a damaged pack can raise anything
        print(f"error: {type(error).__name__}: {_first(error)}; unpack the zip again", file=sys.stderr)
        return 2
    print(f"{count} images in {asked.output}{os.sep} ({time.monotonic() - start:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
