"""Break the product on purpose, one line at a time, and see a test fail: `make mutations`.

mutations.toml lists what is broken: the file, the text that goes, the text that comes, and the test that must notice.
It is done in a copy of the checkout with an environment of its own, so that commands and daemons that a test starts are
broken as well. A mutation that no test notices, or whose test cannot be run, ends the command with status 1.
"""

import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import venv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
TABLE = Path(__file__).with_name("mutations.toml")
LONGEST = 1200  # seconds, for the tests of one mutation, or all of them once
TESTS_FAILED = 1  # pytest's exit status; others say that it could not run them
NOT_COPIED = ("*.pyc", "__pycache__", ".git", ".venv", "dist", "build", ".hypothesis", ".*_cache", ".coverage*")


@dataclass(frozen=True)
class Mutation:
    """One break. `promise` is the number of the promise in docs/architecture.md, `test` what pytest is given."""

    promise: int
    what: str
    file: str
    old: str
    new: str
    test: str

    def applied(self, text: str) -> str:
        """The file's text with the break in it; `old` must stand in it just once."""
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file} holds {text.count(self.old)} times: {self.old!r}")
        return text.replace(self.old, self.new)


def mutations() -> list[Mutation]:
    """Everything in the table."""
    return [Mutation(**fields) for fields in tomllib.loads(TABLE.read_text(encoding="utf-8"))["mutation"]]


def copy_checkout(to: Path) -> None:
    """A checkout at `to` with an environment whose rolekeeper is the copy's and whose libraries are ours."""
    shutil.copytree(CHECKOUT, to, ignore=shutil.ignore_patterns(*NOT_COPIED), symlinks=True)
    environment = to / ".venv"
    venv.create(environment, symlinks=True)
    ours = Path(sysconfig.get_path("purelib"))
    theirs = environment / ours.relative_to(sys.prefix)
    (theirs / "copy.pth").write_text(f"{to / 'src'}\n{ours}\n", encoding="utf-8")
    for program in Path(sys.executable).parent.iterdir():
        if not (environment / "bin" / program.name).exists():
            (environment / "bin" / program.name).symlink_to(program)
    command = environment / "bin" / "rolekeeper"
    command.unlink()
    command.write_text(f"#!{environment}/bin/python\nimport sys\nfrom rolekeeper.cli import main\nsys.exit(main())\n")
    command.chmod(0o755)


def run_tests(checkout: Path, *tests: str) -> tuple[int, str]:
    """pytest's exit status for these tests in that checkout, and what it printed."""
    command = [f"{checkout}/.venv/bin/python", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=LONGEST, check=False)
    return done.returncode, done.stdout


def outcome(checkout: Path, mutation: Mutation) -> str:
    """What the mutation's test makes of it: `caught`, `survived`, or why that cannot be said."""
    broken = checkout / mutation.file
    whole = broken.read_text(encoding="utf-8")
    broken.write_text(mutation.applied(whole), encoding="utf-8")
    try:
        status, _ = run_tests(checkout, *mutation.test.split())
    finally:
        broken.write_text(whole, encoding="utf-8")
    return {0: "survived", TESTS_FAILED: "caught"}.get(status, f"pytest ended with {status}")


def main(wanted: Iterable[str]) -> int:
    """Try the mutations whose text or file holds one of `wanted`, all without any; 1 when one was not caught."""
    words = tuple(wanted)
    chosen = [one for one in mutations() if not words or any(word in f"{one.what} {one.file}" for word in words)]
    missed = 0
    with tempfile.TemporaryDirectory(prefix="rolekeeper-mutations-") as directory:
        checkout = Path(directory, "checkout")
        copy_checkout(checkout)
        status, said = run_tests(checkout, *sorted({test for mutation in chosen for test in mutation.test.split()}))
        if status:
            print(f"{said}\nthe tests fail before anything is broken: mend that first")
            return 1
        for number, mutation in enumerate(chosen, start=1):
            result = outcome(checkout, mutation)
            missed += result != "caught"
            print(f"{number:3}/{len(chosen)}  promise {mutation.promise}  {result:9} {mutation.what}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} mutations caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
