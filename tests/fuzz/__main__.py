"""The campaign's command line; see the package."""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Iterable

from tests.fuzz.cases import CASES, REPEATED
from tests.fuzz.outcome import printable
from tests.fuzz.runner import KINDS, NAMED, Case, Judged, run


def main() -> int:
    """Run one case, or a campaign; return 1 where anything was found."""
    arguments = _arguments()
    if arguments.kind is not None:
        return _one(Case(arguments.kind, arguments.seed))
    wanted = [Case(kind, arguments.first + k) for kind in KINDS for k in range(getattr(arguments, kind))]
    if arguments.cases:
        wanted += [Case(*pair) for pair in REPEATED]
        wanted += [Case(NAMED, k) for k in range(len(CASES))]
    part, of = map(int, arguments.part.split("/"))
    return _campaign(wanted[part - 1 :: of], arguments.jobs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("kind", nargs="?", choices=[*KINDS, NAMED], help="run one case of this kind again")
    parser.add_argument("seed", nargs="?", type=int, default=0)
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=int, default=0, metavar="N", help="run N cases of the kind")
    parser.add_argument("--cases", action="store_true", help="run all cases that have a name")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first seed of each kind")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="run the k-th of n equal shares of all that")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="cases at once")
    return parser.parse_args()


def _one(case: Case) -> int:
    (judged,) = run([case])
    print("$ onnxcam", *map(printable, judged.ran.words))
    print(f"exit status {judged.ran.status}, {judged.seconds:.1f} s, at most {judged.memory:.0f} MB")
    for name, text in (("stdout", judged.ran.out), ("stderr", judged.ran.err)):
        print(f"-- {name}", *text.decode("utf-8", "backslashreplace").splitlines()[-40:], sep="\n")
    if judged.ran.status < 0:
        print("-- stacks", judged.ran.stacks, sep="\n")
    print("-- remarks", *judged.remarks, sep="\n")
    print("-- findings", *(judged.findings or ["none: a clean answer"]), sep="\n")
    return bool(judged.findings)


def _campaign(wanted: list[Case], jobs: int) -> int:
    judged = []
    began = time.monotonic()
    for one in run(wanted, jobs):
        judged.append(one)
        if len(judged) % 100 == 0:
            print(f"{len(judged)} of {len(wanted)}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    _print_table(judged)
    _print_groups((one.case, one.remarks) for one in judged)
    _print_groups((one.case, one.findings) for one in judged)
    return any(one.findings for one in judged)


def _print_table(judged: list[Judged]) -> None:
    print(f"{'kind':<12}{'tried':>8}{'clean':>8}{'seconds':>9}{'slowest':>9}{'peak MB':>9}")
    for kind in (*KINDS, NAMED):
        of_kind = [one for one in judged if one.case.kind == kind]
        if of_kind:
            seconds = [one.seconds for one in of_kind]
            clean = sum(not one.findings for one in of_kind)
            print(f"{kind:<12}{len(of_kind):>8}{clean:>8}{sum(seconds):>9.0f}{max(seconds):>9.1f}", end="")
            print(f"{max(one.memory for one in of_kind):>9.0f}")


def _print_groups(told: Iterable[tuple[Case, list[str]]]) -> None:
    """Print the findings or remarks of cases, grouped by text, with their seeds."""
    groups: dict[str, list[Case]] = defaultdict(list)
    for case, texts in told:
        for text in dict.fromkeys(texts):
            groups[text].append(case)
    for text, found in sorted(groups.items(), key=lambda item: -len(item[1])):
        some = ", ".join(_named(case) for case in found[:8])
        print(f"{len(found):>6}  {printable(text)}\n        {some}{', …' if len(found) > 8 else ''}")


def _named(case: Case) -> str:
    return f"{case} ({list(CASES)[case.seed]})" if case.kind == NAMED else str(case)


if __name__ == "__main__":
    sys.exit(main())
