"""Print `N passed, N failed, N skipped` over all runs of pytest: `summary.py [TARGET ...]`; 1 when anything failed.

TARGET is a make target that failed. Where it left no failed test behind (a lint, an installation), it counts as one.
"""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "build" / "results"


def counted(path: Path) -> tuple[int, int, int]:
    """How many tests passed, failed and were skipped in a run."""
    suites = list(ET.parse(path).iter("testsuite"))
    tests, failures, errors, skipped = (
        sum(int(suite.get(name, 0)) for suite in suites) for name in ("tests", "failures", "errors", "skipped")
    )
    return tests - failures - errors - skipped, failures + errors, skipped


def main(broken: list[str]) -> int:
    """Add up the runs."""
    found = {path.stem: counted(path) for path in RESULTS.glob("*.xml")}
    passed, failed, skipped = (sum(one[place] for one in found.values()) for place in range(3))
    for target in broken:
        if not found.get(target, (0, 0, 0))[1]:
            print(f"make {target} failed, and no test did")
            failed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
