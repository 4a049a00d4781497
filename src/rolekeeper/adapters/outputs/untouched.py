"""Whether an output could be published, found out without leaving anything behind.

A look of `publishedfile` goes all the way to a complete file beside the target, creates the directory for it, and
leaves a lock file. That is right before a publication and wrong for a diagnosis, which must change nothing.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rolekeeper.adapters.files.lock import has_lock_file, remove_lock
from rolekeeper.adapters.files.replace import describe
from rolekeeper.adapters.outputs import accounts, sandbox
from rolekeeper.errors import OutputError
from rolekeeper.settings import CredentialsFile


def missing_directory(output: CredentialsFile) -> str | None:
    """The directory of the file, if it does not exist."""
    directory = os.path.dirname(output.path)
    return None if os.path.isdir(directory) else directory


@contextmanager
def no_new_lock(output: CredentialsFile) -> Iterator[None]:
    """Remove the lock file that is made meanwhile, if there was none. The directory is there."""
    try:
        had_one = has_lock_file(output.path)
    except OSError:  # the look says why
        had_one = True
    try:
        yield
    finally:
        if not had_one:
            with suppress(OSError, OutputError):
                remove_lock(output.path)


def refuse_creation(output: CredentialsFile, unit: str | None) -> None:
    """Raise OutputError, as a publication would, when the missing directory could not be created; `unit` is ours."""
    owner = accounts.user_number(output.owner, output.path)
    accounts.group_number(output.group, output.path)
    nearest = _nearest(os.path.dirname(output.path))
    if not os.path.isdir(nearest):
        number = errno.ENOTDIR
    elif os.access(nearest, os.W_OK | os.X_OK, effective_ids=True):
        return
    else:
        number = errno.EROFS if os.statvfs(nearest).f_flag & os.ST_RDONLY else errno.EACCES
    error = OSError(number, os.strerror(number), nearest)
    code, remedy = describe(error)
    opened = sandbox.remedy(unit, output.path, owner, error) if unit is not None else None
    raise OutputError(code, f"Cannot publish to {output.path}: {error.strerror}: {nearest}", opened or remedy)


def _nearest(directory: str) -> str:
    """What is there of the way to the directory."""
    while not os.path.lexists(directory):
        directory = os.path.dirname(directory)
    return directory
