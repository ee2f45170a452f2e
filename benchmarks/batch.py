"""What a batch costs and survives: throughput against decoding and inference, memory, pictures that end processes.

python benchmarks/batch.py throughput MODEL FOLDER     # rows a second against decoding and inference, same threads
python benchmarks/batch.py many 100000                 # 100 broken pictures, 3 that end their process: rows, memory
python benchmarks/batch.py kills 3000                  # kill -9 at ten random moments, resumed: the same files
python benchmarks/batch.py bytes FOLDER                # bytes a row of a batch, by column
"""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
from numpy.typing import NDArray

from onnxcam import Explainer, pipeline
from onnxcam.batching.batch import batch
from onnxcam.batching.processors import processors
from onnxcam.media import image

ROOT = Path(__file__).parents[1]
SHAPES = str(ROOT / "onnxcam" / "assets" / "shapes.onnx")
RUN = [sys.executable, "-c", "from onnxcam.cli import main; main()", "batch"]


def main() -> None:
    """Run one of the measurements."""
    what, *words = sys.argv[1:]
    {"throughput": throughput, "many": many, "kills": kills, "bytes": sizes}[what](*words)


def throughput(model: str, folder: str, rounds: str = "3") -> None:
    """Print the time of decoding and inference alone, relative to that of a batch without its start."""
    ratios = []
    for _ in range(int(rounds)):
        plain = _plain(model, folder)
        one, all_ = (
            plain / (_batch(model, folder, count) - _batch(model, _first(folder, 8), count))
            for count in (1, processors())
        )
        ratios.append((one, all_))
        print(f"one process, {processors()} processes: wall time {one[0]:.2f} {all_[0]:.2f}", end=", ")
        print(f"processor time {one[1]:.2f} {all_[1]:.2f}")
    print("medians", *np.median(ratios, axis=0).T.round(2))


def _clock() -> NDArray[np.float64]:
    """Return the wall time and the processor time of this process and of those that it started, in seconds."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return np.array([time.perf_counter(), sum(one.ru_utime + one.ru_stime for one in used)])


def _plain(model: str, folder: str) -> NDArray[np.float64]:
    """Return the time of decoding, preprocessing and inference, side by side as a batch does them."""
    preprocess = Explainer(model).preprocessing
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = processors()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name, files = session.get_inputs()[0].name, image.files([folder])
    start = _clock()
    pipeline.run(
        [[file] for file in files],
        lambda file: preprocess(image.read(file)),
        lambda loaded: session.run(None, {name: loaded[0][1]}) and None,
        lambda _: None,
        jobs=min(4, processors() + 1),
    )
    return _clock() - start


def _batch(model: str, source: str, workers: int) -> NDArray[np.float64]:
    with tempfile.TemporaryDirectory() as out:
        start = _clock()
        batch(model, source, out, workers=workers)
        return _clock() - start


def _first(folder: str, count: int) -> str:
    """Return a list of the first *count* images of *folder*."""
    path = Path(tempfile.gettempdir()) / "first.txt"
    path.write_text("\n".join(os.path.abspath(one) for one in image.files([folder])[:count]))
    return str(path)


def many(count: str, *options: str) -> None:
    """Explain *count* small pictures, 100 of them broken and 3 that end their process; print rows and memory."""
    with tempfile.TemporaryDirectory() as place:
        folder = _pictures(Path(place) / "photos", int(count), broken=100, deadly=3)
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        words = [
            "-c",
            "import benchmarks.batch as b, sys; b.deadly(*sys.argv[1:])",
            str(folder),
            f"{place}/out",
            *options,
        ]
        start, command = time.perf_counter(), [sys.executable, *words]
        ran = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        seconds = time.perf_counter() - start
        print(ran.stdout.strip(), f"in {seconds:.0f} s")
        rows = _rows(f"{place}/out")
        numbers = [number for number, _ in rows]
        assert numbers == list(range(int(count))), "rows are missing or there twice"
        print(f"{len(rows):,} rows, {sum(error is not None for _, error in rows)} with an error; each picture once")


_DEADLY = "import benchmarks.batch as b, sys; b.deadly(*sys.argv[1:])"


def deadly(folder: str, out: str, engine: str = "local") -> None:
    """Explain *folder* with a preprocessing that ends its process at a red picture; print the memory."""
    from tests.batching.killers import preprocess

    extra = {} if engine == "local" else {"engine": engine}
    batch(SHAPES, folder, out, preprocess=preprocess, **extra)
    own, child = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(f"peak {own:.0f} MB in the driver, {child:.0f} MB in its process")


def kills(count: str, rounds: str = "10") -> None:
    """Kill the worker, the driver or all of a run at random moments; check that the files are those of one run."""
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        folder = _pictures(Path(place) / "photos", int(count), broken=10, deadly=0)
        whole = f"{place}/whole"
        start = time.perf_counter()
        subprocess.run([*RUN, *_words(folder, whole)], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        for number in range(int(rounds)):
            out, killed = f"{place}/{number}", ("worker", "driver", "all")[number % 3]
            words = [*RUN, *_words(folder, out)]
            run = subprocess.Popen(words, stdout=subprocess.DEVNULL)
            moment = chance.uniform(0.1, seconds)
            time.sleep(moment)
            _kill(run.pid, killed)
            run.wait()
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            same = _content(out) == _content(whole)
            print(f"{killed} killed after {moment:.1f} of {seconds:.1f} s, resumed: same files: {same}")
            assert same


def _words(folder: Path, out: str) -> list[str]:
    return [SHAPES, str(folder), "-o", out, "--part-size", "64"]


def _kill(driver: int, who: str) -> None:
    inner = subprocess.run(["pgrep", "-P", str(driver)], capture_output=True, text=True).stdout.split()
    own = [int(one) for one in inner]
    for one in own if who == "worker" else [driver] if who == "driver" else [driver, *own]:
        try:
            os.kill(one, signal.SIGKILL)
        except ProcessLookupError:
            print("  it had ended already")


def sizes(folder: str) -> None:
    """Print the bytes a row of a batch takes, by column."""
    found: dict[str, int] = {}
    rows = 0
    for part in sorted(Path(folder).glob("part-*.parquet")):
        metadata = pq.read_metadata(part)
        rows += metadata.num_rows
        for group in range(metadata.num_row_groups):
            for at in range(metadata.num_columns):
                column = metadata.row_group(group).column(at)
                name = column.path_in_schema.partition(".")[0]
                found[name] = found.get(name, 0) + column.total_compressed_size
    total = sum(part.stat().st_size for part in Path(folder).glob("part-*.parquet"))
    print(f"{total / rows:.0f} bytes a row")
    for name, size in sorted(found.items(), key=lambda one: -one[1])[:10]:
        print(f"  {name} {size / rows:.0f}")


def _pictures(folder: Path, count: int, broken: int, deadly: int) -> Path:
    """Write *count* small pictures, the first ones of which are deadly, then broken, spread over the folder."""
    folder.mkdir()
    chance = random.Random(0)
    numbers = chance.sample(range(count), broken + deadly)
    bases = [image.read(ROOT / "onnxcam" / "assets" / f"shapes_{n}.png")[::3, ::3] for n in (1, 2)]
    red = np.full((96, 96, 3), (255, 0, 0), np.uint8)
    coded = [image.encode(np.roll(base, shift, 1), Path("x.jpg")) for base in bases for shift in range(48)]
    for number in range(count):
        data = coded[number % len(coded)]
        (folder / f"{number:07d}.jpg").write_bytes(data)
    for number in numbers[:deadly]:
        (folder / f"{number:07d}.jpg").write_bytes(image.encode(red, Path("x.png")))
    for number in numbers[deadly:]:
        (folder / f"{number:07d}.jpg").write_bytes(b"no image")
    return folder


def _rows(folder: str) -> list[tuple[int, str | None]]:
    tables = [pq.read_table(part, columns=["number", "error"]) for part in sorted(Path(folder).glob("part-*.parquet"))]
    found = [(row["number"], row["error"]) for table in tables for row in table.to_pylist()]
    return sorted(found, key=lambda one: one[0])


def _content(folder: str) -> Sequence[tuple[str, bytes]]:
    return [(path.name, path.read_bytes()) for path in sorted(Path(folder).iterdir()) if not path.name.startswith(".")]


if __name__ == "__main__":
    main()
