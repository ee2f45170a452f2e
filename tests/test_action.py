"""The action of action.yml: its scripts run as GitHub runs them, with a stand-in for `gh`."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import onnxcam

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / ".github" / "action"
ASSETS = Path(onnxcam.__file__).parent / "assets"
SHAPES, PICTURE = ASSETS / "shapes.onnx", ASSETS / "shapes_1.png"
REAL = f'exec "{sys.executable}" -c "from onnxcam.cli import main; main()" "$@"'
TOLD = 'printf "%s\\n" "$@" >said.txt; mkdir -p report; echo "### told" >report/summary.md; exit {code}'
GH = """\
printf '%s\\n' "$*" >>calls.txt
for word; do case $word in
  body=@*) cp "${word#body=@}" comment.md ;;
  */picture.json) cp "$word" picture.json ;;
esac; done
case "$*" in *--jq*) cat comments.txt 2>/dev/null || true ;; esac
[ ! -e forbidden ] || { echo "HTTP 403: Resource not accessible by integration" >&2; exit 1; }
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32" or not shutil.which("bash"), reason="needs bash")


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a job, in which `gh` is a stand-in that keeps what it is told."""
    monkeypatch.chdir(tmp_path)
    program("gh", GH)
    return tmp_path


def program(name: str, script: str) -> None:
    path = Path("bin") / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{script}", "utf-8")
    path.chmod(0o755)


def run(script: str, **variables: object) -> subprocess.CompletedProcess[str]:
    own = {"GITHUB_OUTPUT": "outputs.txt", "GITHUB_STEP_SUMMARY": "step.md", "OUTPUT": "report"}
    own |= {"GITHUB_REPOSITORY": "o/r", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_RUN_ID": "7"}
    paths = {"PATH": f"{Path('bin').resolve()}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    env = os.environ | own | paths | {name: str(value) for name, value in variables.items()}
    return subprocess.run(["bash", SCRIPTS / script], env=env, capture_output=True, text=True)


def outputs() -> dict[str, str]:
    return dict(line.split("=", 1) for line in Path("outputs.txt").read_text(encoding="utf-8").splitlines())


def test_a_failed_validation(runner: Path) -> None:
    program("onnxcam", REAL)
    given = "--reference-preprocess=unit\n--candidate-preprocess=caffe"
    ran = run("validate.sh", REFERENCE=SHAPES, CANDIDATE=SHAPES, IMAGES=PICTURE, ARGUMENTS=given, REQUIRE="pearson>=1")
    assert ran.returncode == 1, ran.stderr
    assert outputs() == {"verdict": "failed", "exit-code": "1", "report": "report"}
    assert "FAILED on 1 image" in ran.stderr
    assert Path("step.md").read_text(encoding="utf-8") == Path("report/summary.md").read_text(encoding="utf-8")
    assert "❌ onnxcam: failed on 1 image" in Path("step.md").read_text(encoding="utf-8")
    assert {"report.html", "junit.xml", "worst.png"} <= {path.name for path in Path("report").iterdir()}
    assert run("comment.sh", PULL_REQUEST=12, NAME="int8 net", PICTURE_BRANCH="pictures").returncode == 0
    sent = json.loads(Path("picture.json").read_text(encoding="utf-8"))
    assert sent["branch"] == "pictures"
    assert base64.b64decode(sent["content"]) == Path("report/worst.png").read_bytes()
    comment = Path("comment.md").read_text(encoding="utf-8")
    assert comment.startswith("<!-- onnxcam validate: int8-net -->\n### ❌")
    assert "](https://github.com/o/r/raw/pictures/12/int8-net-7-1.png)" in comment


def test_an_error(runner: Path) -> None:
    program("onnxcam", REAL)
    ran = run("validate.sh", REFERENCE="none.onnx", CANDIDATE=SHAPES, IMAGES=PICTURE)
    assert ran.returncode == 2
    assert outputs() == {"verdict": "error", "exit-code": "2", "report": "report"}
    assert re.search(r"^    .*none\.onnx.*no such file", Path("step.md").read_text(encoding="utf-8"), re.MULTILINE)
    ran = run("comment.sh", PULL_REQUEST=12, NAME="n")
    assert (ran.returncode, Path("calls.txt").exists()) == (0, False)
    assert "::warning::onnxcam: there is no summary" in ran.stdout


@pytest.mark.parametrize(("code", "verdict"), [(0, "passed"), (3, "undecided")])
def test_words_reach_the_command_as_they_are(runner: Path, code: int, verdict: str) -> None:
    program("onnxcam", TOLD.format(code=code))
    images = "a b.png\r\n\n$(touch taken);*.png\n"
    ran = run("validate.sh", REFERENCE="r e.onnx", CANDIDATE="`touch taken`", IMAGES=images, ARGUMENTS="-t\na dog")
    assert ran.returncode == code
    said = ["validate", "r e.onnx", "`touch taken`", "a b.png", "$(touch taken);*.png", "-t", "a dog"]
    assert Path("said.txt").read_text(encoding="utf-8").splitlines() == [*said, "--output", "report"]
    assert (outputs()["verdict"], Path("step.md").read_text(encoding="utf-8")) == (verdict, "### told\n")
    assert not Path("taken").exists()


def test_one_comment_for_all_runs(runner: Path) -> None:
    Path("report").mkdir()
    Path("report/summary.md").write_text("### told\n", encoding="utf-8")
    given = {"PULL_REQUEST": 12, "NAME": "n", "REPORT_URL": "https://github.com/o/r/report"}
    assert run("comment.sh", **given).returncode == 0
    assert "[Report with all images](https://github.com/o/r/report)" in Path("comment.md").read_text(encoding="utf-8")
    Path("comments.txt").write_text("41\n42\n", encoding="utf-8")
    assert run("comment.sh", **given).returncode == 0
    calls = [line for line in Path("calls.txt").read_text(encoding="utf-8").splitlines() if "--field" in line]
    assert [" ".join(call.split()[2:4]) for call in calls] == [
        "POST repos/o/r/issues/12/comments",
        "PATCH repos/o/r/issues/comments/41",
    ]
    Path("forbidden").touch()
    ran = run("comment.sh", **given)
    assert (ran.returncode, "pull-requests: write" in ran.stdout) == (0, True)


def test_the_action_gives_each_script_what_it_reads() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
    steps = action["runs"]["steps"]
    for step in steps:
        assert "${{" not in step.get("run", "")  # text of an input would be run
        if script := re.search(r"action/(\w+\.sh)", step.get("run", "")):
            read = set(re.findall(r"\$\{?([A-Z_]+)", (SCRIPTS / script[1]).read_text("utf-8")))
            assert {name for name in read if not name.startswith("GITHUB_")} <= set(step["env"]), script[1]
    used = set(re.findall(r"inputs\.([\w-]+)", json.dumps(action)))
    assert used == set(action["inputs"])
    told = {f"{name}=" for name in action["outputs"]}
    assert all(f"printf '{name}" in (SCRIPTS / "validate.sh").read_text("utf-8") for name in told)
