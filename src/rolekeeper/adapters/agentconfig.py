"""What SSM Agent was configured to do, from its own files and its unit, for `adopt`.

- `runtimeconfig/identity_config.json`, beside its vault, says where it published last: ShareFile and ShareProfile.
- `/etc/amazon/ssm/amazon-ssm-agent.json` has Agent.Region, Ssm.Endpoint, and Profile with ShareCreds, ShareProfile and
  KeyAutoRotateDays. Most machines have none, and the agent its defaults.
- Its unit's environment has the proxy, and the file when AWS_SHARED_CREDENTIALS_FILE moved it.

An empty value is the agent's default. What is malformed or cannot be read is left out with a warning: it only
says where credentials are expected, so it never prevents an adoption.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from rolekeeper.adapters.files.replace import read_file
from rolekeeper.core.agentsettings import DEFAULT_FILE, DEFAULT_PROFILE, AgentSettings

DEFAULT_CONFIGURATION = "/etc/amazon/ssm/amazon-ssm-agent.json"
UNITS = ("amazon-ssm-agent.service", "snap.amazon-ssm-agent.amazon-ssm-agent.service")

_IDENTITY = Path("runtimeconfig") / "identity_config.json"  # beside the vault
_MOST_DAYS = 36_500
_KINDS = {str: "text", bool: "true or false", int: "a whole number", dict: "an object"}

T = TypeVar("T")


@dataclass(slots=True)
class _Reader:
    """Reads JSON files and keeps what is wrong with them."""

    warnings: list[str] = field(default_factory=list)

    def object(self, path: Path) -> Mapping[str, Any]:
        """The object in a file; empty when there is none, or when it is of no use."""
        try:
            data = read_file(str(path))
            found = json.loads(data.decode("utf-8-sig")) if data is not None else {}
        except OSError as error:
            self.warnings.append(f"cannot read {path}: {error.strerror}")
        except (ValueError, RecursionError):
            self.warnings.append(f"{path} is not JSON")
        else:
            if isinstance(found, dict):
                return found
            self.warnings.append(f"{path} is not a JSON object")
        return {}

    def member(self, path: Path, content: Mapping[str, Any], name: str, default: T) -> T:
        """A member of an object, of the type of `default`; null counts as absent."""
        place = content
        *tables, key = name.split(".")
        for table in tables:
            place = self._typed(path, place.get(table), name, {})
        return self._typed(path, place.get(key), name, default)

    def _typed(self, path: Path, value: Any, name: str, default: T) -> T:
        if value is None:
            return default
        if type(value) is type(default):
            found: T = value
            return found
        self.warnings.append(f"{path}: {name} is not {_KINDS[type(default)]}")
        return default


def read(
    vault: str | Path, configuration: str | Path | None, environment: Mapping[str, str]
) -> tuple[AgentSettings, tuple[str, ...]]:
    """The agent's settings, and a warning for each thing that was left out.

    `vault` is its vault, `configuration` its file in /etc (None: not looked at), `environment` that of its unit.
    """
    reader = _Reader()
    identity = Path(vault).absolute().parent / _IDENTITY
    published = reader.object(identity)
    path = Path(configuration) if configuration is not None else Path()
    configured = reader.object(path) if configuration is not None else {}
    moved = environment.get("AWS_SHARED_CREDENTIALS_FILE", "")
    profile = reader.member(path, configured, "Profile.ShareProfile", "")
    days = reader.member(path, configured, "Profile.KeyAutoRotateDays", 0)
    if not 0 <= days <= _MOST_DAYS:
        reader.warnings.append(f"{path}: Profile.KeyAutoRotateDays is {days}")
        days = 0
    settings = AgentSettings(
        file=reader.member(identity, published, "ShareFile", "") or moved or DEFAULT_FILE,
        profile=reader.member(identity, published, "ShareProfile", "") or profile or DEFAULT_PROFILE,
        shares=reader.member(path, configured, "Profile.ShareCreds", True),  # noqa: FBT003 - it is a value
        region=reader.member(path, configured, "Agent.Region", ""),
        endpoint_url=_url(reader.member(path, configured, "Ssm.Endpoint", "")),
        proxy_url=_url(environment.get("https_proxy", "") or environment.get("HTTPS_PROXY", ""), "http"),
        rotate_after=timedelta(days=days) if days else None,
    )
    return settings, tuple(reader.warnings)


def _url(text: str, scheme: str = "https") -> str:
    """A URL, also of a host alone, as the agent takes it."""
    return text if not text or "://" in text else f"{scheme}://{text}"
