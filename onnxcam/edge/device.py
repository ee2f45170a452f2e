"""The runner: a packed model over pictures on the device, into a recording. One file that stands alone.

It needs Python 3.8, NumPy and ONNX Runtime, and nothing of onnxcam: `onnxcam pack` copies it, as ``run.py``, beside the
model. `Writer`, by which recordings are written (docs/recording.md), is here for that reason; onnxcam uses it too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FORMAT, PACK, VERSION = "onnxcam-recording", "onnxcam-pack", 1
DONE, PART = "recording.json", "recording.part"
SEAL = b'"seal"'
TENSORS = {"scores": "<f4", "maps": "<f4", "classes": "<i8"}
EVERY = 2.0  # seconds between two syncs to the disk


class Trouble(Exception):
    """What goes wrong, in one line."""


class Writer:
    """A recording that grows: each picture is appended, and `close` completes it.

    What was written before the process died is found again, where *header* (all of ``recording.json`` but pictures and
    tensors) is the same; ``done`` holds (name, sha256) of those pictures. Trouble for a folder that holds a whole
    recording, or the beginning of another.
    """

    def __init__(self, folder: str | os.PathLike[str], header: dict[str, Any]) -> None:
        self.folder, self.header = Path(folder), header
        self.pictures: list[dict[str, Any]] = []
        self._ends = dict.fromkeys(TENSORS, 0)
        try:
            self._open()
        except OSError as error:
            raise Trouble(f"cannot write into '{self.folder}': {error.strerror}; choose another folder") from None
        self.done = {(picture["name"], picture["sha256"]) for picture in self.pictures}
        self._pending: list[str] = []
        self._synced = time.monotonic()

    def _open(self) -> None:
        """Open the files, at the end of what is whole in them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / DONE).exists():
            raise Trouble(f"'{self.folder}' holds a recording; choose another folder, or delete it")
        part = self.folder / PART
        lines = _whole_lines(part)
        if lines and lines[0] != self.header:
            parts = ", ".join(differing(lines[0], self.header))
            raise Trouble(f"'{self.folder}' holds the beginning of another recording ({parts}); choose another folder")
        for line in lines[1:]:
            self._ends = line.pop("ends")
            self.pictures.append(line)
        for name, end in self._ends.items():
            file = self.folder / f"{name}.bin"
            if end > (file.stat().st_size if file.exists() else 0):
                raise Trouble(
                    f"'{self.folder}' is damaged: {file.name} is too short; delete the folder, and start again"
                )
        self._files = {name: open(self.folder / f"{name}.bin", "ab") for name in TENSORS}  # noqa: SIM115
        for name, opened in self._files.items():
            opened.truncate(self._ends[name])
        kept = [self.header, *(dict(picture, ends=None) for picture in self.pictures)]
        if self.pictures:
            kept[-1]["ends"] = self._ends  # of the earlier ones nobody asks again
        draft = part.with_suffix(".draft")
        draft.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")
        os.replace(draft, part)
        self._part = open(part, "a", encoding="utf-8")  # noqa: SIM115

    def add(self, picture: dict[str, Any], scores: Any, map: Any, chosen: int) -> None:
        """Append a *picture* (name, sha256, size, frame, why): its *scores* [K], the *map* [h, w] of class *chosen*.

        Without a map, None, ``why`` says why.
        """
        import numpy as np

        arrays = {"scores": scores, "maps": [] if map is None else map, "classes": [chosen]}
        for kind, array in arrays.items():
            data = np.ascontiguousarray(array, TENSORS[kind]).tobytes()
            self._files[kind].write(data)
            self._ends[kind] += len(data)
        picture = dict(picture, map=None if map is None else [int(length) for length in np.shape(map)])
        self.pictures.append(picture)
        self.done.add((picture["name"], picture["sha256"]))
        self._pending.append(json.dumps(dict(picture, ends=self._ends)) + "\n")
        if time.monotonic() - self._synced > EVERY:
            self.sync()

    def sync(self) -> None:
        """Have all that was added on the disk: tensors first, so that a line never promises what is not there."""
        for file in self._files.values():
            _to_disk(file)
        self._part.writelines(self._pending)
        _to_disk(self._part)
        self._pending.clear()
        self._synced = time.monotonic()

    def close(self, unreadable: Any = (), warnings: Any = ()) -> None:
        """Complete the recording: ``recording.json`` appears, whole. There is at least one picture.

        *unreadable* are (picture, why) of those left out, *warnings* what whoever compares should know.
        """
        self.leave()
        count = len(self.pictures)
        shapes = {"scores": [count, self._ends["scores"] // 4 // count], "maps": [self._ends["maps"] // 4]}
        shapes["classes"] = [count]
        kinds = {"scores": "float32", "maps": "float32", "classes": "int64"}
        tensors = {
            name: {
                "file": f"{name}.bin",
                "dtype": kinds[name],
                "order": "little",
                "shape": shape,
                "sha256": digest(self.folder / f"{name}.bin"),
            }
            for name, shape in shapes.items()
        }
        bad = [{"name": name, "why": why} for name, why in unreadable]
        whole = dict(self.header, pictures=self.pictures, tensors=tensors, unreadable=bad, warnings=list(warnings))
        draft = self.folder / (DONE + ".draft")
        draft.write_bytes(sealed(whole))
        os.replace(draft, self.folder / DONE)
        (self.folder / PART).unlink()

    def leave(self) -> None:
        """Leave off, with all that was added on the disk: a writer of the same header goes on from here."""
        if not self._part.closed:
            self.sync()
        for file in [*self._files.values(), self._part]:
            file.close()


def sealed(whole: dict[str, Any]) -> bytes:
    """Return *whole* as the text of ``recording.json``: at its end the hash of all that stands before it."""
    body = json.dumps(whole, indent=1)[:-2].encode() + b",\n "
    return body + SEAL + b': "' + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


def digest(path: Path) -> str:
    """Return the SHA-256 of the file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            found.update(piece)
    return found.hexdigest()


def differing(one: dict[str, Any], other: dict[str, Any], where: str = "") -> list[str]:
    """Return the paths of what differs between two JSON objects."""
    found: list[str] = []
    for key in sorted({*one, *other}):
        a, b = one.get(key), other.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differing(a, b, f"{where}{key}.")
        elif a != b:
            found.append(where + key)
    return found


def _whole_lines(part: Path) -> list[dict[str, Any]]:
    """Return what the lines say; the last may have been cut off."""
    found: list[dict[str, Any]] = []
    for line in part.read_text("utf-8").splitlines() if part.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def _to_disk(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def read_picture(path: Path) -> Any:
    """Return the picture, uint8 [H, W, 3] RGB: .npy, binary .ppm or .pgm, or, where it is there, what PIL reads."""
    import numpy as np

    if not path.is_file():
        raise Trouble(f"{path}: no such file; check the name")
    if path.suffix.lower() == ".npy":
        try:
            picture = np.load(str(path), allow_pickle=False)
        except ValueError:
            raise Trouble(f"{path}: is no .npy file, or is cut off") from None
    elif path.read_bytes()[:2] in (b"P5", b"P6"):
        picture = _netpbm(path.read_bytes(), path)
    else:
        picture = _by_pil(path)
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise Trouble(f"{path}: is {picture.dtype} {list(picture.shape)}; a picture is uint8 [H, W, 3] in RGB order")
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
    if len(words) < 4 or not all(word.isdigit() for word in words[1:]) or words[3] != b"255":
        raise Trouble(f"{path}: is no PPM or PGM of 8 bits; save it as one of 0 to 255")
    shape = [int(words[2]), int(words[1]), 3 if words[0] == b"P6" else 1]
    count = shape[0] * shape[1] * shape[2]
    if len(data) - at < count:
        raise Trouble(f"{path}: the picture is cut off; copy it again")
    pixels = np.frombuffer(data, np.uint8, count, at).reshape(shape)
    return pixels if shape[2] == 3 else pixels[..., 0]


def _by_pil(path: Path) -> Any:
    import numpy as np

    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise Trouble(f"{path}: without Pillow only .npy, .ppm and .pgm are read; save it as one of these") from None
    try:
        with Image.open(str(path)) as opened:
            return np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    except (OSError, ValueError):
        raise Trouble(f"{path}: is no picture that Pillow reads, or is damaged") from None


class Pack:
    """What `onnxcam pack` put beside this file: ``pack.json``, the model, and perhaps prepared tensors."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.says = json.loads((folder / "pack.json").read_text("utf-8"))
        except (OSError, ValueError):
            raise Trouble(f"no pack.json in '{folder}'; unpack the whole zip and run its run.py") from None
        if self.says.get("format") != PACK or self.says.get("version") != VERSION:
            raise Trouble(f"'{folder / 'pack.json'}' is of another version; make the pack again")
        for name, sha256 in self.says["files"].items():
            if not (folder / name).is_file() or digest(folder / name) != sha256:
                raise Trouble(f"'{folder / name}' is missing or damaged; unpack the zip again")

    def session(self, provider: str, threads: int) -> Any:
        """Return the model on ONNX Runtime."""
        import onnxruntime  # noqa: TID251 - this file runs where onnxcam is not

        there = onnxruntime.get_available_providers()
        wanted = [name for name in there if name.lower().startswith("cpu")]
        if provider == "auto":
            wanted = [name for name in there if name.startswith("CUDA")] + wanted
        else:
            found = [name for name in there if name.lower().startswith(provider.lower())]
            if not found:
                raise Trouble(f"no provider {provider!r} in this onnxruntime; there is {', '.join(there)}")
            wanted = list(dict.fromkeys(found[:1] + wanted))
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 4, threads
        try:
            return onnxruntime.InferenceSession(str(self.folder / self.says["model"]), options, providers=wanted)
        except Exception as error:  # of many kinds
            raise Trouble(f"ONNX Runtime refuses the model: {_first(error)}") from error

    def count(self, paths: list[Path]) -> int:
        """Return how many pictures there will be; Trouble where there are none, or too many."""
        if paths and self.says["tensors"]:
            raise Trouble("the pack brings its pictures along, prepared; give none")
        if not paths and not self.says["tensors"]:
            raise Trouble("give pictures of the model's input size: .npy, .ppm or .pgm")
        return len(paths or self.says["pictures"])

    def each(
        self, paths: list[Path], done: set[tuple[str, str]], bad: list[tuple[str, str]]
    ) -> Iterator[tuple[dict[str, Any], Any]]:
        """Yield each picture that is not *done*, and its tensor [1, ...]; note what cannot be read in *bad*."""
        import numpy as np

        if self.says["tensors"]:
            kind = self.says["tensors"]
            shape = tuple(kind["shape"])
            tensors = np.memmap(str(self.folder / kind["file"]), np.dtype(kind["dtype"]), "r", shape=shape)
            for row, picture in enumerate(self.says["pictures"]):
                if (picture["name"], picture["sha256"]) not in done:
                    yield picture, np.array(tensors[row : row + 1])
        for path in paths:
            try:
                pixels = read_picture(path)
                self._fit(pixels, path)
            except Trouble as error:
                bad.append((str(path), str(error)))
                continue
            sha256 = digest(path)
            if (str(path), sha256) not in done:
                yield {"name": str(path), "sha256": sha256, "size": list(pixels.shape[:2])}, pixels[None]

    def _fit(self, pixels: Any, path: Path) -> None:
        wanted = self.says["size"]
        if any(isinstance(length, int) and length != have for length, have in zip(wanted, pixels.shape)):  # noqa: B905
            have = f"{pixels.shape[1]} x {pixels.shape[0]}"
            raise Trouble(f"{path}: is {have} pixels, the model takes {wanted[1]} x {wanted[0]}; scale it first")


def record(pack: Pack, asked: argparse.Namespace) -> int:
    """Run the model over the pictures, into a recording; return how many there are."""
    import numpy as np

    says, total = pack.says, pack.count(asked.pictures)
    session = pack.session(asked.provider, asked.threads)
    model = dict(says["header"]["model"], provider=session.get_providers()[0])
    writer = Writer(asked.output, dict(says["header"], model=model))
    batch = session.get_inputs()[0].shape[0]
    bad: list[tuple[str, str]] = []
    try:
        for picture, tensor in pack.each(asked.pictures, set(writer.done), bad):
            feeds = {says["input"]: np.repeat(tensor, batch, 0) if isinstance(batch, int) else tensor}
            if says["wanted"]:
                feeds[says["wanted"]] = np.array([says["classes"].get(picture["sha256"], asked.class_)] * len(tensor))
            scores, heat, chosen = _ask(session, says["outputs"], feeds, picture["name"])
            real = np.asarray(scores, np.float64).reshape(-1)
            if says["units"]:
                real = (real - says["units"][1]) * says["units"][0]
            writer.add(picture, real, heat, int(chosen))
            _show(f"{len(writer.pictures)} / {total}")
        if not writer.pictures:
            raise Trouble(f"none of the {total} pictures can be read; the first: {bad[0][1]}")
    except BaseException:
        writer.leave()
        raise
    writer.close(bad, says["warnings"])
    for _, why in bad:
        print(f"warning: {why}", file=sys.stderr)
    return len(writer.pictures)


def _ask(session: Any, outputs: list[str], feeds: dict[str, Any], name: str) -> Any:
    try:
        return [output[0] for output in session.run(outputs, feeds)]
    except Exception as error:
        raise Trouble(f"{name}: ONNX Runtime failed: {_first(error)}; run again to go on behind it") from error


def _show(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text}", end="", file=sys.stderr, flush=True)


def _first(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def main() -> int:
    """Parse, record, say it. Bad input ends with one line and exit code 2."""
    parser = argparse.ArgumentParser("run.py", description="Run the packed model over pictures, into a recording.")
    parser.add_argument("pictures", nargs="*", type=Path, help="pictures, if the pack has none: .npy, .ppm, .pgm")
    parser.add_argument("-o", "--output", type=Path, default=Path("run"), help="folder of the recording (run)")
    parser.add_argument("--provider", default="auto", help="auto, cpu, cuda, or another of ONNX Runtime's")
    parser.add_argument("--threads", type=int, default=0, help="threads of one operator; 0: ONNX Runtime's choice")
    parser.add_argument("--class", dest="class_", type=int, default=-1, help="if the class is an input: its index")
    asked = parser.parse_args()
    start = time.monotonic()
    try:
        count = record(Pack(Path(__file__).resolve().parent), asked)
    except Trouble as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; run again to go on", file=sys.stderr)
        return 130
    print(f"{count} pictures in {asked.output}{os.sep} ({time.monotonic() - start:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
