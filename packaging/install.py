"""`make install`: the tree of the packages for one Python of this machine, below PREFIX.

`install.py [--check] PREFIX DESTDIR PYTHON`, run by packaging/install; with --check, it says why that cannot be, and no
more. The tree goes to PREFIX/lib/rolekeeper, everything else
where the packages put it, below PREFIX in place of /usr. Run again, it replaces the program and keeps configuration and
registration. With DESTDIR, nothing of the running system is touched.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import tree

import packages

ROOT = tree.ROOT
PREFIXES = ("/usr/local", "/usr")  # where systemd looks for units, presets and catalogs
UNREACHABLE = ("/home/", "/root/", "/run/user/")  # for the service, in its sandbox
WANTED = {"dmidecode": "four components of the hardware hash", "ca-certificates": "TLS"}
TRUST_STORES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem")


def main(prefix: str, destdir: str, python: str) -> None:
    """Build the tree, put everything in place, and start the service."""
    interpreter = _interpreter(python)
    home = Path(f"{destdir}{prefix}/lib/rolekeeper")
    is_first = not home.exists()
    fresh = home.with_name(".rolekeeper-new")
    shutil.rmtree(fresh, ignore_errors=True)
    _build(fresh, interpreter)
    files = _files()
    units = sorted(Path(name).name for name in files if name.startswith("lib/systemd/system/"))
    _write(fresh / "files", "".join(f"{name}\n" for name in sorted(files)))
    _write(fresh / "config.toml", _text("config/config.toml"))
    uninstall = _text("packaging/uninstall").replace("@PREFIX@", prefix).replace("@UNITS@", " ".join(units))
    _write(fresh / "uninstall", uninstall, 0o755)
    shutil.rmtree(home, ignore_errors=True)
    fresh.rename(home)
    for name, source in files.items():
        text = _text(source).replace("/usr/bin/rolekeeper", f"{prefix}/bin/rolekeeper")
        _write(Path(f"{destdir}{prefix}/{name}"), text, 0o755 if name.startswith("bin/") else 0o644)
    configuration = Path(f"{destdir}/etc/rolekeeper")
    (configuration / "conf.d").mkdir(parents=True, exist_ok=True)
    if not (configuration / "config.toml").exists():
        _write(configuration / "config.toml", _text("config/config.toml"))
    subprocess.run([home / "bin" / "compile"], check=True)
    if not destdir:
        _start(is_first=is_first)
    sys.stdout.write(f"Installed rolekeeper {packages.version()} for {interpreter} in {destdir}{prefix}\n")


def _interpreter(python: str) -> str:
    return os.path.realpath(shutil.which(python) or python)


def check(prefix: str, destdir: str, python: str) -> None:
    """Exit if it cannot be installed there; name what else this machine needs."""
    interpreter = _interpreter(python)
    if prefix not in PREFIXES or (prefix == "/usr" and not destdir):
        sys.exit(f"Cannot install below {prefix}: PREFIX is /usr/local or, with DESTDIR, /usr; systemd reads no others")
    if interpreter.startswith(UNREACHABLE):
        sys.exit(
            f"Cannot install for {interpreter}: the service does not see homes; name another: make PYTHON=... install"
        )
    for existing in dict.fromkeys((f"{destdir}{prefix}/lib/rolekeeper", f"{destdir}/usr/lib/rolekeeper")):
        if os.path.exists(existing) and not os.path.exists(f"{existing}/uninstall"):
            sys.exit(f"Cannot install: {existing} belongs to a package; remove the package first")
    if destdir:
        return
    missing = [] if shutil.which("dmidecode") else ["dmidecode"]
    missing += [] if any(os.path.exists(path) for path in TRUST_STORES) else ["ca-certificates"]
    for package in missing:
        sys.stderr.write(f"Install the package {package}, too: rolekeeper needs it for {WANTED[package]}\n")


def _build(home: Path, interpreter: str) -> None:
    work = ROOT / "build" / "install"
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    home.parent.mkdir(parents=True, exist_ok=True)
    tree.build(work, home, packages.version(), tree.Target((python,), None))
    tree.link_interpreters(home, {python: interpreter}, interpreter)
    for path in (home, *home.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.name == "compile" else 0o644)


def _files() -> dict[str, str]:
    """Path below PREFIX -> file of the repository."""
    everywhere = packages.FILES | packages.units() | packages.RPM_FILES
    below = {name.removeprefix("usr/"): source for name, source in everywhere.items() if name.startswith("usr/")}
    return {name.removesuffix(".gz"): source for name, source in below.items()}


def _text(source: str) -> str:
    return (ROOT / source).read_text(encoding="utf-8")


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    """A new file in place of any old one, which may be in use."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}-new")
    fresh.write_text(text, encoding="utf-8")
    fresh.chmod(mode)
    fresh.replace(path)


def _start(*, is_first: bool) -> None:
    """Enable the service as the presets say and start it, or restart it if it runs."""
    subprocess.run(["journalctl", "--update-catalog"], check=False, capture_output=True)
    if is_first:
        subprocess.run(["systemctl", "--no-reload", "preset", "rolekeeper.service"], check=False, capture_output=True)
    if not os.path.isdir("/run/systemd/system"):
        return
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    enabled = subprocess.run(["systemctl", "is-enabled", "--quiet", "rolekeeper.service"], check=False).returncode == 0
    action = "start" if is_first and enabled else "try-restart"
    if subprocess.run(["systemctl", action, "rolekeeper.service"], check=False).returncode:
        sys.stderr.write("The service does not run; `systemctl status rolekeeper` says why\n")


if __name__ == "__main__":
    os.umask(0o022)
    if sys.argv[1] == "--check":
        check(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
