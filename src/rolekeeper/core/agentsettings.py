"""What SSM Agent was configured to do, and how our configuration differs: pure, adapters/agentconfig.py reads it.

Programs find credentials where the agent published them. If rolekeeper publishes elsewhere, they go on until the last
token of the agent runs out, and fail then. So `adopt` compares, in this order:

1. Where the agent published: a file and a profile that is not one of our outputs.
2. The endpoint, the proxy, and the age of the node key, where the agent's configuration names one and ours another.
3. What our configuration cannot express is named too: an agent that published nothing, or that named another region
   than the registration's, which is the one that counts.

A difference that our configuration can express has the table, key and value for it.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from rolekeeper import durations
from rolekeeper.settings import CredentialsFile, FileFormat, Settings
from rolekeeper.values import NOTHING, Value

DEFAULT_FILE, DEFAULT_PROFILE = "/root/.aws/credentials", "default"
FILES = "credentials_file"


class AgentSettings(Value, hidden=("proxy_url",)):
    """SSM Agent's settings; empty or None: its default. `shares`: whether it publishes credentials at all."""

    file: str = DEFAULT_FILE
    profile: str = DEFAULT_PROFILE
    shares: bool = True
    region: str = ""
    endpoint_url: str = ""
    proxy_url: str = ""  # it may hold a password
    rotate_after: timedelta | None = None


class Difference(Value):
    """One line for a person; `table` and `values` are what our configuration lacks, empty when it has no key for it."""

    text: str
    table: str = ""
    values: Mapping[str, Any] = NOTHING


def differences(agent: AgentSettings, settings: Settings, region: str) -> tuple[Difference, ...]:
    """Where our configuration differs from the agent's; `region` is that of the registration."""
    return tuple(_differences(agent, settings, region))


def tables(found: Iterable[Difference]) -> dict[str, Any]:
    """What to add to our configuration, as a TOML document."""
    content: dict[str, Any] = {}
    for one in found:
        if one.table == FILES:
            content.setdefault(FILES, []).append(dict(one.values))
        elif one.table:
            content.setdefault(one.table, {}).update(one.values)
    return content


def _differences(agent: AgentSettings, settings: Settings, region: str) -> Iterator[Difference]:
    if not agent.shares:
        yield Difference("SSM Agent published no credentials (Profile.ShareCreds is false), and rolekeeper does")
    elif not any(_is_agents_place(one, agent) for one in settings.credentials_files):
        ours = ", ".join(_place(one) for one in settings.credentials_files) or "no file"
        text = f"SSM Agent published in {agent.file} [{agent.profile}], and rolekeeper publishes in {ours}"
        yield Difference(text, FILES, {"path": agent.file, "profile": agent.profile})
    service, rotate_after = settings.service, settings.rotate_key_after
    if agent.endpoint_url and agent.endpoint_url.rstrip("/") != (service.endpoint_url or "").rstrip("/"):
        theirs, ours = _without_user(agent.endpoint_url), _or_unset(service.endpoint_url)
        text = f"SSM Agent's endpoint is {theirs}, and service.endpoint_url is {ours}"
        yield Difference(text, "service", {"endpoint_url": agent.endpoint_url})
    if agent.proxy_url and agent.proxy_url != service.proxy_url:
        ours = _without_user(service.proxy_url or "")
        text = f"SSM Agent's proxy is {_without_user(agent.proxy_url)}, and service.proxy_url is {_or_unset(ours)}"
        yield Difference(text, "service", {"proxy_url": agent.proxy_url})
    if agent.rotate_after and agent.rotate_after != rotate_after:
        theirs, ours = durations.text(agent.rotate_after), durations.text(rotate_after) if rotate_after else "never"
        text = f"SSM Agent rotated its key after {theirs}, and key.rotate_after is {ours}"
        yield Difference(text, "key", {"rotate_after": theirs})
    if agent.region and agent.region != region:
        yield Difference(f"SSM Agent's configuration names {agent.region}; the registration's region {region} counts")


def _is_agents_place(output: CredentialsFile, agent: AgentSettings) -> bool:
    is_nodes_own = output.role is None and output.format is FileFormat.SHARED
    return is_nodes_own and (output.path, output.profile) == (agent.file, agent.profile)


def _place(output: CredentialsFile) -> str:
    return f"{output.path} [{output.profile}]" if output.profile else output.path


def _or_unset(value: str | None) -> str:
    return value or "not set"


def _without_user(url: str) -> str:
    """A URL that may be shown."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "***"
    _, user, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"***@{host}").geturl() if user else url
