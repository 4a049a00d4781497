"""What the unit's sandbox closes to an output, and the drop-in that opens just that.

The rules mirror systemd/rolekeeper.service, and a test applies each drop-in to it:
- /home and /run/user are empty in the sandbox: BindPaths= shows one directory;
- everything else is read-only except /root and the service's own directories: ReadWritePaths= opens one directory;
- files and directories of other users need CAP_DAC_OVERRIDE, and in a directory with the sticky bit CAP_FOWNER too;
- /tmp is the service's own: no program would find a file that is published there, so no drop-in helps.

/home, /root and their like may be symlinks (to /var/home): the sandbox covers what they lead to. The - before each path
lets the unit start when the directory is missing, for instance after a user was deleted: its output alone then fails.
"""

import errno
import os
import re
import stat

from rolekeeper.adapters.files.paths import RefusedFileError

_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_HIDDEN = ("/home", "/run/user")
_PRIVATE = ("/tmp", "/var/tmp")  # noqa: S108 - nothing is written there, that is the point
_OPEN = ("/root",)
_PLAIN = r"[A-Za-z0-9/._@+,=%-]+"
_NOT_IN_NAMES = r"[^A-Za-z0-9._-]"


def remedy(unit: str, path: str, owner: int, error: OSError) -> str | None:
    """How to open `unit` for the file `path` of the user `owner`.

    None when the sandbox is not what is in the way, or when that is unknown.
    """
    if error.errno not in _CLOSED or isinstance(error, RefusedFileError):
        return None
    try:
        return _remedy(unit, path, owner)
    except OSError:  # the error that is being reported is the one that counts
        return None


def _remedy(unit: str, path: str, owner: int) -> str | None:
    directory = os.path.dirname(os.path.realpath(path))
    if _is_below(directory, _PRIVATE):
        return f"publish elsewhere: {unit} has a /tmp of its own, which no other program sees"
    lines = _opening(directory) + _capabilities(directory, path, owner)
    if not lines:
        return None
    name = f"output{re.sub(_NOT_IN_NAMES, '-', directory)}.conf"
    where = (
        f"the sandbox of {unit} closes {directory}: make sure that it exists, write the lines below to "
        f"/etc/systemd/system/{unit}.d/{name}, then `systemctl daemon-reload && systemctl restart {unit}`"
    )
    return "\n".join((where, "[Service]", *lines))


def _opening(directory: str) -> list[str]:
    if _is_below(directory, _HIDDEN):
        return [f"BindPaths={_optional(directory)}"]
    read_only = os.statvfs(_nearest(directory)).f_flag & os.ST_RDONLY
    return [f"ReadWritePaths={_optional(directory)}"] if read_only and not _is_below(directory, _OPEN) else []


def _capabilities(directory: str, path: str, owner: int) -> list[str]:
    nearest = os.stat(_nearest(directory))
    shared = stat.S_ISVTX & nearest.st_mode
    owners = {owner, nearest.st_uid, _owner(path)}
    if _is_below(directory, _HIDDEN) or owners != {os.geteuid()}:
        return ["CapabilityBoundingSet=CAP_DAC_OVERRIDE" + (" CAP_FOWNER" if shared else "")]
    return []


def _nearest(directory: str) -> str:
    """The directory, or the first one above it that can be seen; the root, if none can."""
    while directory != "/":
        try:
            os.stat(directory)
        except OSError:
            directory = os.path.dirname(directory)
        else:
            break
    return directory


def _owner(path: str) -> int:
    try:
        return os.stat(path).st_uid
    except OSError:  # absent, or hidden in a directory whose owner is enough
        return os.geteuid()


def _is_below(directory: str, tops: tuple[str, ...]) -> bool:
    resolved = (os.path.realpath(top) for top in tops)
    return any(directory == top or directory.startswith(f"{top}/") for top in resolved)


def _optional(path: str) -> str:
    """The path as a value in a unit file, which may be missing when the unit starts."""
    text = f"-{path}".replace("%", "%%")
    if re.fullmatch(_PLAIN, path):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
