"""Run one target, or all in turn, under atheris: `python tests/fuzz/fuzz.py [--seconds N] [TARGET ...]`.

Each target runs in a process of its own, which ends at the first finding; the input is then in the current directory.
What was learnt is kept in `corpus` only when that is given: the repository holds seeds and no more.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

HERE = Path(__file__).parent
LONGEST_INPUT = 8192  # bytes
LONGEST_RUN = 20  # seconds, for one input
MOST_MEMORY = 1024  # MiB, of the process


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz what takes hostile input.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default: all of them")
    parser.add_argument("--seconds", type=int, default=60, help="for each target, default 60")
    parser.add_argument("--corpus", type=Path, help="keep what was learnt there")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        fuzz(options.targets[0], options.seconds, options.corpus)
    names = options.targets or sorted(path.name for path in (HERE / "seeds").iterdir())
    failed = []
    for name in names:
        print(f"== {name}", flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            corpus = options.corpus / name if options.corpus else Path(scratch)
            corpus.mkdir(parents=True, exist_ok=True)
            arguments = ["--inside", name, "--seconds", str(options.seconds), "--corpus", str(corpus)]
            if subprocess.run([sys.executable, __file__, *arguments], check=False).returncode:
                failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else f"{len(names)} targets, no finding")
    return 1 if failed else 0


def fuzz(name: str, seconds: int, corpus: Path) -> None:
    """Never returns: libFuzzer ends the process."""
    with atheris.instrument_imports(include=["rolekeeper", "configparser", "tomllib"]):
        sys.path.insert(0, str(HERE))
        from targets import TARGETS
    limits = [f"-max_total_time={seconds}", f"-max_len={LONGEST_INPUT}", f"-timeout={LONGEST_RUN}"]
    rest = [f"-rss_limit_mb={MOST_MEMORY}", "-print_final_stats=1", "-verbosity=1"]
    atheris.Setup([sys.argv[0], *limits, *rest, str(corpus), str(HERE / "seeds" / name)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
