# ruff: noqa: INP001 - scripts for `make packages`, not a package
"""`make packages`: dist/rolekeeper_VERSION_amd64.deb and dist/rolekeeper-VERSION-1.x86_64.rpm.

docs/packages.md says what is in them and what they do. `tree` makes /usr/lib/rolekeeper; nfpm.yaml says where all else
goes. Files carry the time of the newest entry in deb/changelog, or SOURCE_DATE_EPOCH, so that the same sources
make the same packages. When the sources have not changed since, nothing is built.
"""

import argparse
import email.utils
import fcntl
import gzip
import hashlib
import os
import re
import shutil
import string
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tree

ROOT = tree.ROOT
PACKAGING = ROOT / "packaging"
LARGEST_INSTALLED = 45_000_000  # bytes; SSM Agent's package has 108 MB
SOURCES = ("LICENSE", "config", "packaging", "src/rolekeeper", "systemd")
COMPRESSED = {  # where it goes below /usr/share -> where it stands in packaging/
    "man/man8/rolekeeper.8.gz": "man/rolekeeper.8",
    "man/man5/rolekeeper.toml.5.gz": "man/rolekeeper.toml.5",
    "doc/rolekeeper/changelog.gz": "deb/changelog",
}


@dataclass(frozen=True, slots=True)
class Order:
    """What to build, where to, and the time that its files carry (seconds since 1970)."""

    version: str
    into: Path
    epoch: int

    @property
    def deb(self) -> Path:
        """Debian's package."""
        return self.into / f"rolekeeper_{self.version}_amd64.deb"

    @property
    def rpm(self) -> Path:
        """The package for RHEL, Fedora and their like."""
        return self.into / f"rolekeeper-{self.version}-1.x86_64.rpm"

    @property
    def stamp(self) -> Path:
        """The digest of what the two were built from, and their installed size."""
        return self.into / f".rolekeeper-{self.version}"


def main() -> None:
    """Build what is missing or out of date, and print the figures."""
    order = _order()
    work = ROOT / "build" / "packages"
    for directory in (work, order.into):
        directory.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        digest = _digest(order)
        if not _is_built(order, digest):
            installed = _build(order, work)
            order.stamp.write_text(f"{digest} {installed}")
    _print_figures(order)


def _order() -> Order:
    parser = argparse.ArgumentParser(description="Build the .deb and the .rpm.")
    parser.add_argument("--version", default=_version(), help="another version than the source's, to try an upgrade")
    parser.add_argument("--into", type=Path, default=ROOT / "dist", help="the directory for the packages")
    options = parser.parse_args()
    if re.fullmatch(r"\d+\.\d+\.\d+", options.version) is None:
        sys.exit(f"Cannot package version {options.version}: write three numbers, so that dpkg, rpm and pip agree")
    return Order(options.version, options.into.resolve(), int(os.environ.get("SOURCE_DATE_EPOCH") or _released()))


def _version() -> str:
    return _found(r'^__version__ = "(.+)"$', ROOT / "src" / "rolekeeper" / "__init__.py")


def _released() -> int:
    """When the newest entry in Debian's changelog was written."""
    return int(
        email.utils.parsedate_to_datetime(_found(r"^ -- .*>  (.+)$", PACKAGING / "deb" / "changelog")).timestamp()
    )


def _found(pattern: str, path: Path) -> str:
    found = re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        sys.exit(f"Cannot find {pattern} in {path}")
    return found[1]


def _digest(order: Order) -> str:
    """Of everything that the packages are made from."""
    digest = hashlib.sha256(f"{order.version} {order.epoch}".encode())
    for path in sorted(_sources()):
        name = str(path.relative_to(ROOT))
        digest.update(f"\0{name} {os.access(path, os.X_OK)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    for name in SOURCES:
        found = [ROOT / name] if (ROOT / name).is_file() else (ROOT / name).rglob("*")
        yield from (path for path in found if path.is_file() and "__pycache__" not in path.parts)


def _is_built(order: Order, digest: str) -> bool:
    there = order.deb.is_file() and order.rpm.is_file() and order.stamp.is_file()
    return there and order.stamp.read_text().split()[0] == digest


def _build(order: Order, work: Path) -> int:
    """Build both packages; returns the installed size in bytes."""
    stage = work / "stage"
    shutil.rmtree(stage, ignore_errors=True)
    _stage(order, work, stage)
    for path in (stage, *stage.rglob("*")):  # whatever the umask and the checkout were
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (order.epoch, order.epoch))
    for packager, package in (("deb", order.deb), ("rpm", order.rpm)):
        _package(order, stage, packager, package)
    installed = tree.size(stage)
    shutil.rmtree(stage)
    return installed


def _stage(order: Order, work: Path, stage: Path) -> None:
    """Everything that nfpm.yaml takes from $stage, in its final form."""
    tree.build(work, stage / "tree", order.version)
    for name, source in COMPRESSED.items():
        target = stage / "share" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(gzip.compress((PACKAGING / source).read_bytes(), 9, mtime=0))
    shutil.copytree(ROOT / "systemd", stage / "systemd", ignore=shutil.ignore_patterns("README*"))


def _package(order: Order, stage: Path, packager: str, package: Path) -> None:
    description = string.Template((PACKAGING / "nfpm.yaml").read_text(encoding="utf-8")).substitute(
        version=order.version, stage=stage, root=ROOT, python=tree.PYTHON, next_python=_next(tree.PYTHON),
        glibc=".".join(map(str, tree.GLIBC)), prefix=tree.PREFIX,
    )  # fmt: skip
    written = stage.parent / "nfpm.yaml"
    written.write_text(description, encoding="utf-8")
    nfpm = Path(sys.executable).with_name("nfpm")
    command = [str(nfpm), "package", "--config", str(written), "--packager", packager, "--target", str(package)]
    environment = {"SOURCE_DATE_EPOCH": str(order.epoch)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"Cannot build {package.name}: {done.stdout}{done.stderr}")


def _next(python: str) -> str:
    major, minor = python.split(".")
    return f"{major}.{int(minor) + 1}"


def _print_figures(order: Order) -> None:
    for package in (order.deb, order.rpm):
        sys.stdout.write(f"{package.stat().st_size / 1e6:6.1f} MB  {package}\n")
    installed = int(order.stamp.read_text().split()[1])
    sys.stdout.write(f"{installed / 1e6:6.1f} MB  installed (at most {LARGEST_INSTALLED / 1e6:.0f})\n")
    if installed > LARGEST_INSTALLED:
        sys.exit("Cannot ship this: it is larger than promised")


if __name__ == "__main__":
    main()
