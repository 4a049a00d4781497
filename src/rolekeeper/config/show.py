"""Settings, printed as the configuration that they come from: every key, resolved, and nothing secret.

The printed text can be loaded again. Only the user and the password of a proxy are missing from it.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from rolekeeper import durations
from rolekeeper.config.load import NO_MEANING_IN_A_PROCESS_FILE
from rolekeeper.config.values import NEVER
from rolekeeper.settings import CredentialsFile, FileFormat, Settings
from rolekeeper.values import Value, fields

NOT_SHOWN = "***"
MODE_LEFT_OUT = "# for a new file; an existing one keeps its own"

_FILES, _ENDPOINTS, _ROLES = "credentials_file", "endpoint", "role"


def resolved(settings: Settings) -> dict[str, Any]:
    """The settings as tables of strings, numbers and booleans, in the order of config.toml; empty: not set."""
    service = {"endpoint_url": "", "sts_endpoint_url": "", **_table(settings.service)}
    return {
        "node": _table(settings.node),
        "service": {**service, "proxy_url": _without_user(settings.service.proxy_url or "")},
        "vault": {"directory": settings.vault_directory, "seal": settings.vault_seal},
        "daemon": _table(settings.daemon),
        "refresh": {"at": settings.refresh_share},
        "hibernation": _table(settings.hibernation),
        "key": {"rotate_after": _plain(settings.rotate_key_after) or NEVER},
        "health": {"report_every": _plain(settings.report_health_every) or NEVER},
        _FILES: [_credentials_file(output) for output in settings.credentials_files],
        _ENDPOINTS: [_table(output) for output in settings.endpoints],
        _ROLES: [_table(role) for role in settings.roles],
    }


def describe(settings: Settings) -> str:
    """The settings as TOML text that config.load accepts."""
    blocks = []
    for name, content in resolved(settings).items():
        if not isinstance(content, list):
            blocks.append(_block(name, content))
            continue
        for number, table in enumerate(content):
            lines = _lines(table)
            if name == _FILES and settings.credentials_files[number].keep_mode:
                # As a plain line, it would change the mode of an existing file.
                lines = lines.replace("\nmode = ", f"\n{MODE_LEFT_OUT}\n#mode = ", 1)
            blocks.append(f"[[{name}]]\n{lines}")
    return "\n".join(blocks)


def document(content: Mapping[str, Any]) -> str:
    """Tables, and arrays of tables, as TOML text."""
    return "\n".join(_block(name, table) for name, table in content.items())


def _block(name: str, content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(f"[[{name}]]\n{_lines(table)}" for table in content)
    return f"[{name}]\n{_lines(content)}"


def _credentials_file(output: CredentialsFile) -> dict[str, Any]:
    left_out = {"keep_mode"} if output.format is FileFormat.SHARED else {"keep_mode", *NO_MEANING_IN_A_PROCESS_FILE}
    table = {**_table(output), "mode": f"{output.mode:04o}"}
    return {key: value for key, value in table.items() if key not in left_out}


def _table(settings: Value) -> dict[str, Any]:
    """A table whose keys are the names of the fields."""
    return {name: _plain(value) for name, value in fields(settings).items()}


def _plain(value: Any) -> Any:
    """What TOML holds for it; the empty string for None."""
    if isinstance(value, timedelta):
        return durations.text(value)
    if isinstance(value, (Mapping, tuple)):
        return dict(value) if isinstance(value, Mapping) else list(value)
    return "" if value is None else value


def _lines(table: dict[str, Any]) -> str:
    return "".join(f"{key} = {_toml(value)}\n" for key, value in table.items())


def _toml(value: Any) -> str:
    # For what the configuration can hold (printable strings, numbers, booleans, arrays) JSON's notation is TOML's.
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(member)}" for key, member in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    _, user, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{NOT_SHOWN}@{host}").geturl() if user else url
