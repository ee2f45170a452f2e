"""Print the lowest versions that pyproject.toml declares, as constraints for pip.

python tools/minimum.py > minimum.txt && pip install -c minimum.txt -e ".[test-core]"
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def minimum(requirement: str) -> str | None:
    """Return the constraint for ``name>=1.2``: the release 1.2.0, whatever its build number; None without a bound."""
    found = re.match(r"([\w-]+)[^>;]*>=([\d.]+)", requirement)
    if found is None:
        return None
    parts = [*found[2].split("."), "0", "0"][: max(3, found[2].count(".") + 1)]
    return f"{found[1]}=={'.'.join(parts)}.*"


def main() -> None:
    """Print a line for each requirement of the project and of its extras."""
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    extras = [line for extra in project["optional-dependencies"].values() for line in extra]
    print(*sorted({line for line in map(minimum, [*project["dependencies"], *extras]) if line}), sep="\n")


if __name__ == "__main__":
    main()
