"""Settings, printed as the configuration that they come from: every key, resolved, and nothing secret.

The printed text can be loaded again. Only the user and the password of a proxy are missing from it.
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from rolekeeper import durations
from rolekeeper.settings import CredentialsFile, Endpoint, FileFormat, Role, Settings

NOT_SHOWN = "***"
MODE_LEFT_OUT = "# for a new file; an existing one keeps its own"

_FILES, _ENDPOINTS, _ROLES = "credentials_file", "endpoint", "role"


def resolved(settings: Settings) -> dict[str, Any]:
    """The settings as tables of strings, numbers and booleans, in the order of config.toml; empty: not set."""
    node, service, daemon = settings.node, settings.service, settings.daemon
    rotate_after, report_every = settings.rotate_key_after, settings.report_health_every
    return {
        "node": {
            "region": node.region or "",
            "activation_id": node.activation_id or "",
            "activation_code_file": node.activation_code_file or "",
        },
        "service": {
            "endpoint_url": service.endpoint_url or "",
            "sts_endpoint_url": service.sts_endpoint_url or "",
            "proxy_url": _without_user(service.proxy_url or ""),
            "ca_bundle": service.ca_bundle or "",
            "fips": service.fips,
            "dual_stack": service.dual_stack,
            "connect_timeout": durations.text(service.connect_timeout),
            "read_timeout": durations.text(service.read_timeout),
        },
        "vault": {"directory": settings.vault_directory, "seal": settings.vault_seal},
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
        "health": {"report_every": "never" if report_every is None else durations.text(report_every)},
        _FILES: [_credentials_file(output) for output in settings.credentials_files],
        _ENDPOINTS: [_endpoint(output) for output in settings.endpoints],
        _ROLES: [_role(role) for role in settings.roles],
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
    table = {
        "path": output.path,
        "profile": output.profile,
        "mode": f"{output.mode:04o}",
        **_accounts(output),
        "replace_long_lived_keys": output.replace_long_lived_keys,
        "role": output.role or "",
        "format": output.format.value,
    }
    if output.format is FileFormat.PROCESS:  # which has neither, and loading refuses them
        del table["profile"], table["replace_long_lived_keys"]
    return table


def _endpoint(output: Endpoint) -> dict[str, Any]:
    return {"name": output.name, **_accounts(output), "role": output.role or ""}


def _accounts(output: CredentialsFile | Endpoint) -> dict[str, Any]:
    return {
        "owner": "" if output.owner is None else output.owner,
        "group": "" if output.group is None else output.group,
    }


def _role(role: Role) -> dict[str, Any]:
    return {
        "name": role.name,
        "arn": role.arn,
        "session_name": role.session_name or "",
        "external_id": role.external_id or "",
        "duration": durations.text(role.duration),
        "policy_file": role.policy_file or "",
        "policy_arns": list(role.policy_arns),
        "tags": dict(role.tags),
    }


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
