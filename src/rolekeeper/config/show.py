"""Settings, printed as the configuration that they come from: every key, resolved, and nothing secret.

What is printed can be loaded again. The one thing missing from it is the user and password of a proxy.
"""

import json
from typing import Any
from urllib.parse import urlsplit

from rolekeeper import durations
from rolekeeper.model import CredentialsFile, Settings

NOT_SHOWN = "***"
MODE_LEFT_OUT = "# for a new file; an existing one keeps its own"

_OUTPUTS = "credentials_file"


def resolved(settings: Settings) -> dict[str, Any]:
    """The settings as tables of strings, numbers and booleans, in the order of config.toml; empty: not set."""
    node, service, daemon = settings.node, settings.service, settings.daemon
    rotate_after = settings.rotate_key_after
    return {
        "node": {
            "region": node.region or "",
            "activation_id": node.activation_id or "",
            "activation_code_file": node.activation_code_file or "",
        },
        "service": {
            "endpoint_url": service.endpoint_url or "",
            "proxy_url": _without_user(service.proxy_url or ""),
            "ca_bundle": service.ca_bundle or "",
            "fips": service.fips,
            "dual_stack": service.dual_stack,
            "connect_timeout": durations.text(service.connect_timeout),
            "read_timeout": durations.text(service.read_timeout),
        },
        "vault": {"directory": settings.vault_directory},
        "daemon": {
            "runtime_directory": daemon.runtime_directory,
            "attempt_timeout": durations.text(daemon.attempt_timeout),
            "log_level": daemon.log_level,
        },
        "refresh": {"at": settings.refresh_share},
        "hibernation": {
            "first_probe": durations.text(settings.hibernation.first_probe),
            "longest_probe": durations.text(settings.hibernation.longest_probe),
        },
        "key": {"rotate_after": "never" if rotate_after is None else durations.text(rotate_after)},
        _OUTPUTS: [_output(output) for output in settings.credentials_files],
    }


def describe(settings: Settings) -> str:
    """The settings as TOML text that config.load accepts."""
    tables = resolved(settings)
    outputs = tables.pop(_OUTPUTS)
    blocks = [f"[{name}]\n{_lines(table)}" for name, table in tables.items()]
    for output, table in zip(settings.credentials_files, outputs, strict=True):
        lines = _lines(table)
        if output.keep_mode:  # a line that is no comment would change the mode of an existing file
            lines = lines.replace("\nmode = ", f"\n{MODE_LEFT_OUT}\n#mode = ", 1)
        blocks.append(f"[[{_OUTPUTS}]]\n{lines}")
    return "\n".join(blocks)


def _output(output: CredentialsFile) -> dict[str, Any]:
    return {
        "path": output.path,
        "profile": output.profile,
        "mode": f"{output.mode:04o}",
        "owner": "" if output.owner is None else output.owner,
        "group": "" if output.group is None else output.group,
        "replace_long_lived_keys": output.replace_long_lived_keys,
    }


def _lines(table: dict[str, Any]) -> str:
    # For what the configuration can hold (printable strings, numbers, booleans) JSON's notation is TOML's.
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in table.items())


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    _, user, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{NOT_SHOWN}@{host}").geturl() if user else url
