"""`make packages`: a .deb and an .rpm for each architecture, in dist/.

docs/packages.md says what is in them and what they do. `tree` makes /usr/lib/rolekeeper; _FILES says where all else
goes. Both packages of an architecture are made from one staged root directory, by dpkg-deb and by rpmbuild. Files carry
the time of the newest entry in deb/changelog, or SOURCE_DATE_EPOCH, so that the same sources make the same packages.
When the sources have not changed, nothing is built.
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
LARGEST_INSTALLED = 45_000_000  # bytes, with the bytecode of one Python; SSM Agent's package has 108 MB
LARGEST_DEB = 16_000_000  # bytes
SOURCES = ("LICENSE", "config", "packaging", "pyproject.toml", "src/rolekeeper", "systemd")
OTHER_TOOLS = (
    "find-python",
    "install",
    "install.py",
    "make-venv",
    "need-programs",
    "repository",
    "sbom.py",
    "uninstall",
)
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}  # as dpkg and as rpm, wheels and compilers name them
# Installed path -> file of the repository; one that ends with .gz is compressed on the way.
FILES = {
    "usr/bin/rolekeeper": "packaging/launcher",
    "etc/rolekeeper/config.toml": "config/config.toml",
    "usr/lib/systemd/catalog/rolekeeper.catalog": "systemd/rolekeeper.catalog",
    "usr/share/bash-completion/completions/rolekeeper": "packaging/completion/rolekeeper",
    "usr/share/man/man8/rolekeeper.8.gz": "packaging/man/rolekeeper.8",
    "usr/share/man/man5/rolekeeper.toml.5.gz": "packaging/man/rolekeeper.toml.5",
}
UNIT_SUFFIXES = (".path", ".service", ".socket", ".target", ".timer")
DEB_FILES = {
    "usr/share/doc/rolekeeper/changelog.gz": "packaging/deb/changelog",
    "usr/share/doc/rolekeeper/copyright": "packaging/deb/copyright",
    "usr/share/lintian/overrides/rolekeeper": "packaging/deb/lintian-overrides",
}
RPM_FILES = {
    "usr/lib/systemd/system-preset/80-rolekeeper.preset": "packaging/rpm/80-rolekeeper.preset",
    "usr/share/licenses/rolekeeper/copyright": "packaging/deb/copyright",
    "usr/share/licenses/rolekeeper/LICENSE": "LICENSE",
}
DIRECTORIES = ("etc/rolekeeper/conf.d",)
PROGRAMS = ("usr/bin/rolekeeper", "usr/lib/rolekeeper/bin/compile")


@dataclass(frozen=True, slots=True)
class Order:
    """What to build, where to, and the time that its files carry (seconds since 1970)."""

    version: str
    architecture: str  # as dpkg names it
    into: Path
    epoch: int
    quick: bool

    @property
    def machine(self) -> str:
        """The architecture as rpm names it."""
        return ARCHITECTURES[self.architecture]

    @property
    def deb(self) -> Path:
        """The package for Debian, Ubuntu and their like."""
        return self.into / f"rolekeeper_{self.version}_{self.architecture}.deb"

    @property
    def rpm(self) -> Path:
        """The package for RHEL, Fedora and their like."""
        return self.into / f"rolekeeper-{self.version}-1.{self.machine}.rpm"

    @property
    def stamp(self) -> Path:
        """The digest of what the two were built from, and their installed size."""
        return self.into / f".rolekeeper-{self.version}-{self.architecture}"


def main() -> None:
    """Build what is missing or out of date, and print the figures."""
    work = ROOT / "build" / "packages"
    work.mkdir(parents=True, exist_ok=True)
    for order in _orders():
        order.into.mkdir(parents=True, exist_ok=True)
        with (work / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            digest = _digest(order)
            if not _is_built(order, digest):
                installed = _build(order, work)
                order.stamp.write_text(f"{digest} {installed}")
        _print_figures(order)


def _orders() -> list[Order]:
    parser = argparse.ArgumentParser(description="Build the .deb and the .rpm.")
    parser.add_argument("--version", default=version(), help="another version than the source's, to try an upgrade")
    parser.add_argument("--into", type=Path, default=ROOT / "dist", help="the directory for the packages")
    parser.add_argument("--architecture", choices=ARCHITECTURES, help="one of them, default all")
    parser.add_argument("--quick", action="store_true", help="compress little, for packages that are only tried")
    options = parser.parse_args()
    if re.fullmatch(r"\d+\.\d+\.\d+", options.version) is None:
        sys.exit(f"Cannot package version {options.version}: write three numbers, so that dpkg, rpm and pip agree")
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or _released())
    chosen = [options.architecture] if options.architecture else ARCHITECTURES
    return [
        Order(options.version, architecture, options.into.resolve(), epoch, options.quick) for architecture in chosen
    ]


def version() -> str:
    """The source's version."""
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
    digest = hashlib.sha256(f"{order.version} {order.architecture} {order.epoch} {order.quick}".encode())
    for path in sorted(_sources()):
        name = str(path.relative_to(ROOT))
        digest.update(f"\0{name} {os.access(path, os.X_OK)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    for name in SOURCES:
        found = [ROOT / name] if (ROOT / name).is_file() else (ROOT / name).rglob("*")
        yield from (path for path in found if path.is_file() and not _is_other(path))


def _is_other(path: Path) -> bool:
    """Whether no package depends on this file: bytecode, the locks of developers' tools, and other commands of make."""
    lock = path.suffix in (".in", ".txt") and path != tree.LOCK
    return "__pycache__" in path.parts or (path.parent == PACKAGING and (lock or path.name in OTHER_TOOLS))


def _is_built(order: Order, digest: str) -> bool:
    there = order.deb.is_file() and order.rpm.is_file() and order.stamp.is_file()
    return there and order.stamp.read_text().split()[0] == digest


def _build(order: Order, work: Path) -> int:
    """Build both packages; returns the installed size in bytes, with the bytecode of one Python."""
    stage = work / "stage"
    shutil.rmtree(stage, ignore_errors=True)
    root = stage / "root"
    _stage_program(order, work, root)
    installed = tree.size(root)
    _build_deb(order, root, stage / "deb")
    _build_rpm(order, root, stage / "rpm")
    installed += _size_of_bytecode(root / tree.PREFIX[1:] / tree.SITE_PACKAGES)
    shutil.rmtree(stage)
    return installed


def _stage_program(order: Order, work: Path, root: Path) -> None:
    """What both packages have."""
    home = root / tree.PREFIX[1:]
    tree.build(work, home, order.version, tree.Target(tree.PYTHONS, order.machine))
    tree.link_interpreters(home, {python: f"/usr/bin/python{python}" for python in tree.PYTHONS}, "/usr/bin/python3")
    _stage_files(root, FILES | units())
    for directory in DIRECTORIES:
        (root / directory).mkdir(parents=True)


def units() -> dict[str, str]:
    """Every unit, installed path -> file of the repository."""
    found = (path.name for path in (ROOT / "systemd").iterdir() if path.suffix in UNIT_SUFFIXES)
    return {f"usr/lib/systemd/system/{name}": f"systemd/{name}" for name in found}


def _stage_files(root: Path, files: dict[str, str]) -> None:
    for name, source in files.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        contents = (ROOT / source).read_bytes()
        target.write_bytes(gzip.compress(contents, 9, mtime=0) if target.suffix == ".gz" else contents)


def _finish(order: Order, root: Path) -> None:
    """Give every file its mode and time, whatever the umask and the checkout were."""
    programs = {root / name for name in PROGRAMS}
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path in programs or path.parent.name == "DEBIAN" else 0o644)
        os.utime(path, (order.epoch, order.epoch), follow_symlinks=False)


def _build_deb(order: Order, staged: Path, root: Path) -> None:
    shutil.copytree(staged, root, symlinks=True)
    _stage_files(root, DEB_FILES)
    control = root / "DEBIAN"
    shutil.copytree(PACKAGING / "deb", control, ignore=shutil.ignore_patterns("changelog", "copyright", "lintian-*"))
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    installed = [path for path in files if control not in path.parents]
    sums = (f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n" for path in installed)  # noqa: S324 - the format's
    (control / "md5sums").write_text("".join(sums))
    text = string.Template((control / "control").read_text(encoding="utf-8")).substitute(
        version=order.version, architecture=order.architecture, glibc=tree.GLIBC, python=tree.PYTHONS[0],
        kibibytes=tree.kibibytes(staged),
    )  # fmt: skip
    (control / "control").write_text(text, encoding="utf-8")
    _finish(order, root)
    for name in ("control", "conffiles", "md5sums", "triggers"):
        (control / name).chmod(0o644)
    _run(
        order,
        order.deb,
        "dpkg-deb",
        "--root-owner-group",
        "-Zxz",
        f"-z{0 if order.quick else 6}",
        "--build",
        root,
        order.deb,
    )


def _build_rpm(order: Order, staged: Path, top: Path) -> None:
    root = top / "root"
    shutil.copytree(staged, root, symlinks=True)
    _stage_files(root, RPM_FILES)
    _finish(order, root)
    values = {"staged": root, "version": order.version, "epoch": order.epoch, "scripts": PACKAGING / "rpm"}
    values["level"] = 1 if order.quick else 19
    values |= {"python": tree.PYTHONS[0], "glibc": tree.GLIBC, "_topdir": top, "_rpmdir": top, "_dbpath": top / "db"}
    definitions = [f"--define={name} {value}" for name, value in values.items()]
    spec = PACKAGING / "rpm" / "rolekeeper.spec"
    target = f"--target={order.machine}-linux"
    _run(order, order.rpm, "rpmbuild", "-bb", "--quiet", target, *definitions, spec)
    shutil.move(top / order.machine / order.rpm.name, order.rpm)


def _run(order: Order, package: Path, *command: str | Path) -> None:
    path = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(order.into)}
    environment = path | {"SOURCE_DATE_EPOCH": str(order.epoch), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, umask=0o022)
    if done.returncode:
        sys.exit(f"Cannot build {package.name}: {done.stdout}{done.stderr}")


def _size_of_bytecode(site_packages: Path) -> int:
    before = tree.size(site_packages)
    options = ("-I", "-X", "no_debug_ranges")  # as packaging/compile has them
    subprocess.run([sys.executable, *options, "-m", "compileall", "-q", site_packages], check=True)
    return tree.size(site_packages) - before


def _print_figures(order: Order) -> None:
    for package in (order.deb, order.rpm):
        sys.stdout.write(f"{package.stat().st_size / 1e6:6.1f} MB  {package}\n")
    installed = int(order.stamp.read_text().split()[1])
    sys.stdout.write(f"{installed / 1e6:6.1f} MB  installed, with bytecode (at most {LARGEST_INSTALLED / 1e6:.1f})\n")
    if order.quick:
        return
    if installed > LARGEST_INSTALLED or order.deb.stat().st_size > LARGEST_DEB:
        sys.exit("Cannot ship this: it is larger than promised")


if __name__ == "__main__":
    main()
