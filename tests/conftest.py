"""What the tests share: the folder of real models and photos, where there is one, and a way to run the command line."""

from __future__ import annotations

import gc
import importlib.util
import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:  # each worker has a processor: more threads would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hypothesis
import pytest

from tests.command import Ran

pytest_plugins = ["tests.browser", "tests.torchlib"]

hypothesis.settings.register_profile("onnxcam", deadline=None)  # how long an example takes is the machine's business
hypothesis.settings.load_profile("onnxcam")

CASES = int(os.environ.get("ONNXCAM_CASES", "8"))
"""The most cases of one test in the light environment, evenly spaced."""

REAL = Path(os.environ.get("ONNXCAM_REAL", Path(__file__).parents[2] / "shared" / "real"))


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real models and photos (ONNXCAM_REAL, or shared/real beside the checkout)."""
    if not (REAL / "INDEX.md").is_file():
        pytest.skip(f"no real models and photos at {REAL}")
    return REAL


@pytest.fixture
def onnxcam(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Ran]:
    """Run ``onnxcam …`` in an empty folder, as the shell would."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Ran:
        from onnxcam.cli import main, summary

        monkeypatch.setattr(summary, "LONG", math.inf)  # a slow machine tells of no first result
        monkeypatch.setattr(sys, "argv", ["onnxcam", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            main()
        captured = capsys.readouterr()
        return Ran(int(exit.value.code or 0), captured.out, captured.err)

    return run


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each worker neighbouring tests, which share fixtures; a worker without tests takes some of another."""
    if config.getoption("dist") == "load":
        from xdist.scheduler import WorkStealingScheduling

        return WorkStealingScheduling(config, log)
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In the light environment, which has no PyTorch, skip the slow tests and run `CASES` cases of each test.

    That environment tests the lowest versions of the dependencies: what a version lacks shows in a few cases.
    """
    if importlib.util.find_spec("torch") is not None:
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="too slow for the environment test-core"))
    tests: dict[str, list[pytest.Item]] = {}
    for item in items:
        tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    kept = {id(item) for cases in tests.values() for item in cases[:: -(-len(cases) // CASES)]}
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept])
    items[:] = [item for item in items if id(item) in kept]


def pytest_collection_finish() -> None:
    """Leave out of garbage collection what was made until now: modules and tests, which stay to the end."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Attribute a skip during import to the test file, not to the helper that it imports: xdist drops repetitions."""
    report = yield
    if report.skipped:
        _, line, reason = report.longrepr
        report.longrepr = (str(collector.path), line, reason)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why tests were skipped, and how many for each reason."""
    tests, files = Counter[str](), Counter[str]()
    for report in terminalreporter.stats.get("skipped", []):
        kind = files if isinstance(report, pytest.CollectReport) else tests
        kind[report.longrepr[2].removeprefix("Skipped: ")] += 1
    if tests or files:
        terminalreporter.section(f"skipped: {tests.total()} tests, {files.total()} files")
    for kind, name in ((files, "file"), (tests, "test")):
        for reason, count in kind.most_common():
            terminalreporter.line(f"{count:6} {name}{'s' * (count > 1)}: {reason}")
