"""Sealing a server's vault under faults: `seal`, `seal --rekey` and `unseal`, with a systemd-creds of its own.

The commands find /etc/credstore.encrypted and /etc/systemd/system in the server's directory: their zygote sees the
machine's /etc with symlinks there (`OWN_ETC`).
"""

import shutil
from datetime import timedelta
from pathlib import Path

from tests.conftest import Server

from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.vault.keyfile import RecoveryFile
from rolekeeper.adapters.vault.keys import SystemdKeys
from rolekeeper.adapters.vault.store import FileVault
from rolekeeper.attempt import seal

FAKE = Path(__file__).parents[1] / "vault" / "fake_systemd_creds.py"
# Run a command that sees the symlinks. Nothing of it outlives the command; no systemd of the machine is reached.
OWN_ETC = """
set -e
mkdir "$1"
mount -t tmpfs tmpfs "$1"
mkdir "$1/new" "$1/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/new,workdir=$1/work" /etc
rm -rf /etc/credstore.encrypted /etc/systemd/system
mkdir -p /etc/systemd
ln -s /proc/self/cwd/etc/credstore.encrypted /etc/credstore.encrypted
ln -s /proc/self/cwd/etc/units /etc/systemd/system
for directory in /run/systemd /run/credentials; do
    [ ! -d $directory ] || mount -t tmpfs tmpfs $directory
done
shift
exec "$@"
"""
IN_PATH = {"PATH": "creds:/usr/sbin:/usr/bin:/sbin:/bin"}


def keys(server: Server) -> SystemdKeys:
    """The keys of the server's vault, seen from outside."""
    etc = server.directory / "etc"
    return SystemdKeys(
        str(server.directory / "vault"),
        "host",
        credstore=etc / "credstore.encrypted",
        drop_in=etc / "units" / "rolekeeper.service.d" / "vault-key.conf",
        command=str(server.directory / "creds" / "systemd-creds"),
    )


def recovery(server: Server) -> RecoveryFile:
    return RecoveryFile(str(server.directory / "etc" / "recovery"))


def can_be_sealed(server: Server) -> None:
    """A systemd-creds, and a configuration that wants the vault to be sealed."""
    creds = server.directory / "creds"
    creds.mkdir()
    shutil.copy(FAKE, creds / "systemd-creds")
    (creds / "systemd-creds").chmod(0o755)
    (creds / "host-key").write_bytes(b"host key")
    for name in ("credstore.encrypted", "units"):
        (server.directory / "etc" / name).mkdir(parents=True)
    server.vault_keys = keys(server).read
    configure(server, "host")


def configure(server: Server, setting: str) -> None:
    server.configure()
    server.config.write_text(server.config.read_text().replace("[vault]\n", f'[vault]\nseal = "{setting}"\n'))


def is_sealed(server: Server) -> None:
    """Seal the vault."""
    can_be_sealed(server)
    vault = _vault(server)
    with vault.lock(timedelta(seconds=1)):
        seal.seal(vault, keys(server))
    (server.directory / "first-key").write_text(str(vault.sealed_with()))


def is_to_be_plain(server: Server) -> None:
    is_sealed(server)
    configure(server, "none")


def is_done(server: Server) -> bool:
    """Whether the vault is sealed with a key made since the beginning, which is kept, handed out and copied."""
    first, name = server.directory / "first-key", _vault(server).sealed_with()
    kept = keys(server).kept()
    is_new = name is not None and not (first.exists() and first.read_text() == name)
    return is_new and [key.name for key in kept] == [name] and keys(server).drop_in.exists() and has_copy(server)


def has_copy(server: Server) -> bool:
    """Whether the recovery copy is there that a vault has which was sealed since the beginning."""
    first, name = server.directory / "first-key", _vault(server).sealed_with()
    if name is None or (first.exists() and first.read_text() == name):
        return True
    return any(key.name == name and recovery(server).holds(key) for key in keys(server).kept())


def is_unsealed(server: Server) -> bool:
    files = (keys(server).drop_in, keys(server).credstore / "rolekeeper-vault-key")
    return _vault(server).sealed_with() is None and not any(file.exists() for file in files)


def _vault(server: Server) -> FileVault:
    return FileVault(server.directory / "vault", SystemClock(), keys(server).read)
