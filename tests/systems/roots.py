"""Root file systems of other Debian releases, made by debootstrap and kept outside the tree.

`python -m tests.systems.roots NAME ...` makes them beforehand; tests make what is missing. They lie in
${XDG_CACHE_HOME:-~/.cache}/rolekeeper/roots; delete one there to get a newer one. The mirror is the one that this
machine's own apt uses.

A root holds systemd and nothing that the package depends on. The archives of those dependencies lie in apt's cache, so
that `apt install` finds them without a network, as a server with a mirror would.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BOOTABLE = "systemd,systemd-sysv,dbus,iproute2"
DEPENDENCIES = ("python3", "dmidecode", "ca-certificates")
TOOLS = ("debootstrap:debootstrap",)
EMULATION = ("qemu-aarch64-static:qemu-user-static", "update-binfmts:binfmt-support")
NATIVE = "amd64"
# Seconds for a command; an arm64 root takes ten minutes under emulation. `make check` has less time.
LONGEST = 3600 if os.environ.get("ROLEKEEPER_WHOLE") else 300


class NotToBeHadError(Exception):
    """This root cannot be made here; the text says why."""


@dataclass(frozen=True, slots=True)
class Root:
    """What a root is made of."""

    suite: str
    architecture: str = NATIVE
    upgrade_to: str = ""  # the release that apt's sources name, its packages downloaded


ROOTS = {
    "bookworm": Root("bookworm"),
    "trixie": Root("trixie"),
    "sid": Root("sid"),
    "bookworm-to-trixie": Root("bookworm", upgrade_to="trixie"),
    "bookworm-arm64": Root("bookworm", "arm64"),
    "trixie-arm64": Root("trixie", "arm64"),
}


def root(name: str) -> Path:
    """The directory of a root, made if it is not there yet; raises NotToBeHadError."""
    ready = _cache() / name
    if not ready.is_dir():
        if os.geteuid() != 0:
            raise NotToBeHadError("debootstrap takes root")
        _need(*TOOLS)
        _cache().mkdir(parents=True, exist_ok=True)
        with (_cache() / ".lock").open("w") as lock:  # one at a time, for all who share the cache
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not ready.is_dir():
                unfinished = _cache() / f".{name}"
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir()
                _make(ROOTS[name], unfinished)
                unfinished.rename(ready)
    return ready


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rolekeeper" / "roots"


def _make(what: Root, directory: Path) -> None:
    if what.architecture != NATIVE:
        enable_emulation()
    options = ["--variant=minbase", f"--include={BOOTABLE}", f"--arch={what.architecture}"]
    mirror = _mirror()
    # In a mount namespace: what a debootstrap that fails leaves mounted is not in the way of removing its directory.
    _run("unshare", "--mount", "debootstrap", *options, what.suite, directory, mirror)
    (directory / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    (directory / "usr/sbin/policy-rc.d").chmod(0o755)
    sources = directory / "etc/apt/sources.list"
    sources.write_text(f"deb {mirror} {what.suite} main\n")
    # Unstable may be a copy of some day that the mirror has kept.
    frozen = ("-o", "Acquire::Check-Valid-Until=false")
    apt = ("chroot", directory, "apt-get", "-qq", "--yes", "--no-install-recommends", *frozen)
    _run(*apt, "update")
    if what.upgrade_to:
        _run(*apt, "install", *DEPENDENCIES)
        sources.write_text(f"deb {mirror} {what.upgrade_to} main\n")
        _run(*apt, "update")
        _run(*apt, "--download-only", "full-upgrade")
    else:
        _run(*apt, "--download-only", "install", *DEPENDENCIES)


def enable_emulation() -> None:
    """Let the kernel start arm64 programs; raises NotToBeHadError."""
    _need(*EMULATION)
    binfmt = Path("/proc/sys/fs/binfmt_misc")
    if not (binfmt / "register").exists():
        _run("mount", "-t", "binfmt_misc", "binfmt_misc", binfmt)
    if not (binfmt / "qemu-aarch64").exists():
        _run("update-binfmts", "--enable", "qemu-aarch64")


def _mirror() -> str:
    """Where this machine's apt gets Debian's packages from."""
    form = "$(ORIGIN) $(SUITE) $(REPO_URI)"
    done = _run("apt-get", "indextargets", "--format", form, "Created-By: Packages", "Component: main")
    sites = [line.split() for line in done.splitlines()]
    found = [words[-1] for words in sites if words[0] == "Debian" and "-" not in words[1]]
    if not found:
        raise NotToBeHadError("this machine's apt names no mirror of Debian (`apt-get update` first)")
    return found[0]


def _need(*pairs: str) -> None:
    _run(ROOT / "packaging" / "need-programs", *pairs)


def _run(*command: str | Path) -> str:
    """What a command printed; raises NotToBeHadError with its last words."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LANG": "C.UTF-8"}
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        if name in os.environ:
            environment[name] = os.environ[name]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=LONGEST,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotToBeHadError(str(error)) from error
    if done.returncode:
        words = (done.stdout + done.stderr).strip().splitlines()[-3:]
        raise NotToBeHadError(f"{' '.join(map(str, command))}: {' / '.join(words)}")
    return done.stdout


def main(names: Iterable[str]) -> None:
    """Make these roots, all of them when none is named."""
    for name in names or ROOTS:
        try:
            sys.stdout.write(f"{root(name)}\n")
        except NotToBeHadError as error:
            sys.exit(f"Cannot make the root {name}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
