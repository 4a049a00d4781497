"""The settings that were accepted last, kept in the state directory: pydantic takes longer than the rest of a start.

They are used only for files of the same bytes (`digest`) and by the same version. Otherwise, or if they cannot be
read, the configuration is read. The file may hold a proxy's password, and says where secrets go: it has mode 0600, and
one that another user can have written is not used.
"""

import json
import os
from contextlib import suppress

from rolekeeper import __version__
from rolekeeper.adapters.files.paths import Attributes, place
from rolekeeper.adapters.files.replace import read_at, replace_file
from rolekeeper.core.jsonvalues import decode, encode
from rolekeeper.errors import RolekeeperError
from rolekeeper.settings import Settings

FILE = "settings.json"
PRIVATE = 0o600


def load(directory: str, digest: str) -> Settings | None:
    """The settings that were accepted of files with this digest; None when there are none."""
    try:
        kept = json.loads(_read(os.path.join(directory, FILE)))
        settings = decode(Settings, kept["settings"]) if kept["version"] == __version__ else None
    except (RolekeeperError, OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return settings if settings and settings.digest == digest else None


def _read(path: str) -> bytes:
    with place(path) as target:
        found = read_at(target)
        if found is None or not target.is_left_to():
            return b"{}"
    attributes = found.attributes
    return found.data if (attributes.uid, attributes.mode) == (os.geteuid(), PRIVATE) else b"{}"


def save(directory: str, settings: Settings) -> None:
    """Keep the settings for the next start; where that fails, it takes longer."""
    data = json.dumps({"version": __version__, "settings": encode(settings)}).encode()
    with suppress(RolekeeperError, OSError):
        replace_file(os.path.join(directory, FILE), data, Attributes(PRIVATE), durable=False)
