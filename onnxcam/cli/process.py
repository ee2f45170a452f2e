"""Process handling of every command: one-line errors, signals, a time limit, clean output streams."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import sysconfig
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO, cast

from onnxcam import files
from onnxcam.errors import IncompleteError, OnnxcamError
from onnxcam.text import plain

ISSUES = "https://github.com/onnxcam/onnxcam/issues"
LONGEST = 1500  # maximum characters of an error
GRACE = 3.0  # seconds for a command to end by itself after a signal or its time limit
STOPPED = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Stopped(BaseException):
    """A signal asked the process to end."""

    def __init__(self, code: int) -> None:
        self.code = code


class OutputStream:
    """Output stream that ignores a closed pipe and keeps any other write error.

    A command ends with its own exit code also under ``| head``, and a full disk is an error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._gone = stream, False
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write *text*; do nothing after an error."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush the buffer."""
        self._try(self._stream.flush)

    def _try(self, act: Callable[[], Any]) -> None:
        if self._gone:
            return
        try:
            act()
        except (OSError, ValueError) as error:
            self._gone = True
            if isinstance(error, OSError) and error.errno not in (errno.EPIPE, errno.EINVAL):
                self.failure = error

    def close(self) -> None:
        """Flush; after an error, redirect to /dev/null, so that the interpreter's exit does not fail."""
        self.flush()
        if self._gone:
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def run(command: Callable[[], Any], words: list[str], *, debug: bool, timeout: float | None) -> NoReturn:
    """Run *command* and exit with 0 or its code; 2 (1: incomplete) and a line for an error, 128 + n at a signal."""
    with _streams() as stdout, _quiet_libraries():
        code = _outcome(command, words, debug, timeout)
        stdout.close()
        if stdout.failure is not None and code < 128:
            code = fail(f"standard output cannot be written: {stdout.failure.strerror}")
    sys.exit(code)


def _outcome(command: Callable[[], Any], words: list[str], debug: bool, timeout: float | None) -> int:
    try:
        with _stoppable(), _limited(timeout):
            return command() or 0
    except Stopped as stopped:
        files.abandon()
        return stopped.code
    except IncompleteError as error:
        return fail(str(error), debug, 1)
    except OnnxcamError as error:
        return fail(str(error), debug)
    except Exception as error:
        return fail(_unforeseen(error, words), debug)


@contextmanager
def _streams() -> Iterator[OutputStream]:
    """Put an `OutputStream` in place of both standard streams; one that is closed (``>&-``) is /dev/null."""
    before = sys.stdout, sys.stderr
    streams = [stream or open(os.devnull, "w", encoding="utf-8") for stream in before]  # noqa: SIM115
    stdout, stderr = (OutputStream(_lenient(stream)) for stream in streams)
    sys.stdout, sys.stderr = cast(TextIO, stdout), cast(TextIO, stderr)
    try:
        yield stdout
    finally:
        stderr.close()
        sys.stdout, sys.stderr = before


def fail(message: str, debug: bool = False, code: int = 2) -> int:
    """Print *message* as a one-line error; return the exit code *code*."""
    if debug:
        traceback.print_exc()
    first, *marked = message.split("\n  ")  # further lines show a parse error with a mark
    sys.stderr.write("\n  ".join([f"error: {plain(first, LONGEST)}", *map(str.rstrip, marked)]) + "\n")
    return code


def _unforeseen(error: Exception, words: list[str]) -> str:
    if isinstance(error, MemoryError):
        return f"{_named(words)}: there is not enough memory; try a smaller model, image or batch"
    if isinstance(error, RecursionError):
        return f"{_named(words)}: something in it nests too deep to be read; simplify the file"
    if isinstance(error, OSError) and error.strerror:
        where = f" '{error.filename}'" if error.filename else ""
        return f"{_named(words)}:{where} {error.strerror}"
    step, is_ours = _step(error)
    said = plain(str(error), 200) or "no message"
    report = f"if the input is valid, report this with the output of --debug at {ISSUES}"
    what_to_do = report if is_ours else "correct that file; --debug shows the traceback"
    return f"{_named(words)}: unexpected {type(error).__name__} in {step}: {said}; {what_to_do}"


def _named(words: list[str]) -> str:
    """Return the command and its first file, for an error message."""
    file = next((word for word in words[1:] if not word.startswith("-")), "")
    return f"onnxcam {' '.join(words[:1])}" + (f" '{plain(file, 200)}'" if file else "")


def _step(error: BaseException) -> tuple[str, bool]:
    """Return the innermost function in the traceback of *error* that is no library's, and whether it is onnxcam's."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        home, name = frame.f_globals.get("__name__", ""), frame.f_code.co_name
        if home.split(".")[0] in ("onnxcam", "onnxcam_converters"):
            return f"{home.removeprefix('onnxcam.')}.{name}", True
        if _is_added(Path(frame.f_code.co_filename)):
            return f"{name} ({Path(frame.f_code.co_filename).name}, line {line})", False
    return "cli.main", True


def _is_added(file: Path) -> bool:
    """Return whether *file* belongs neither to Python nor to an installed package: a user's rule, method or metric."""
    installed = not {"site-packages", "dist-packages"}.isdisjoint(file.parts)
    return file.is_file() and not installed and not file.is_relative_to(sysconfig.get_path("stdlib"))


def _lenient(stream: Any) -> TextIO:
    """Let *stream* escape characters that its encoding lacks."""
    with suppress(AttributeError, ValueError):
        stream.reconfigure(errors="backslashreplace")
    return cast(TextIO, stream)


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Suppress logs and warnings of other libraries; onnxcam reports what matters itself."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(level)


@contextmanager
def _stoppable() -> Iterator[None]:
    """End the command on SIGINT and SIGTERM, also while ONNX Runtime runs, and remove drafts.

    Python calls signal handlers only between its own instructions. Therefore a thread waits for the signal's byte,
    terminates the run of ONNX Runtime, and after `GRACE` seconds the process.
    """
    if threading.current_thread() is not threading.main_thread() or sys.platform == "win32":
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    handlers = {number: signal.signal(number, _stop) for number in STOPPED}
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(128 + number)


def _watch(reader: int) -> None:
    while byte := os.read(reader, 1):
        if byte[0] in STOPPED:
            _end_soon(STOPPED[signal.Signals(byte[0])], "")


def _end_soon(code: int, message: str) -> None:
    """Terminate runs of ONNX Runtime, and the process if it does not end within `GRACE` seconds."""
    engine = sys.modules.get("onnxcam.engine")
    if engine is not None:
        engine.terminate()
    killer = threading.Timer(GRACE, _end_now, (code, message))
    killer.daemon = True
    killer.start()


def _end_now(code: int, message: str) -> None:
    files.abandon()
    if message:
        os.write(2, f"error: {message}\n".encode())
    os._exit(code)


@contextmanager
def _limited(timeout: float | None) -> Iterator[None]:
    """Raise OnnxcamError if the block takes longer than *timeout* seconds."""
    if timeout is None:
        yield
        return
    message = f"the command took longer than {timeout:g} s; give a longer --timeout, or a smaller task"
    expired = threading.Event()
    timer = threading.Timer(timeout, _time_out, (expired, message))
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception:
        if not expired.is_set():
            raise
        raise OnnxcamError(message) from None
    finally:
        timer.cancel()


def _time_out(expired: threading.Event, message: str) -> None:
    expired.set()
    _end_soon(2, message)
