"""conf.d/ssm-agent.toml, in which `adopt` puts what SSM Agent's configuration has and ours lacks.

The file is replaced as a whole and holds what the rest of the configuration lacks, so that `adopt` can be repeated. A
file that would make the configuration wrong is not written.
"""

from pathlib import Path

from rolekeeper.adapters.files.paths import Attributes
from rolekeeper.adapters.files.replace import replace_file, translated
from rolekeeper.config import show
from rolekeeper.config.files import DEFAULT_PATH, FRAGMENTS, SourceFile
from rolekeeper.config.load import load
from rolekeeper.core import agentsettings
from rolekeeper.core.agentsettings import AgentSettings
from rolekeeper.errors import ConfigurationError, InputOutputError

NAME = "ssm-agent.toml"
HEAD = "# Taken over from SSM Agent by `rolekeeper adopt --write-config`.\n\n"
_DIRECTORY = Attributes(0o755)
_FILE, _SECRET_FILE = Attributes(0o644), Attributes(0o600)


def write(configuration: str | None, agent: AgentSettings, region: str) -> str:
    """Write what the configuration lacks; returns the path, or an empty string when it lacks nothing.

    Raises ConfigurationError when the configuration would be wrong with it, InputOutputError when it cannot be written.
    """
    main = Path(configuration) if configuration is not None else None
    path = Path(main or DEFAULT_PATH).parent / FRAGMENTS / NAME
    without = load(main, fragment=SourceFile(str(path), {}))
    content = agentsettings.tables(agentsettings.differences(agent, without.settings, region))
    if not content:
        return ""
    loaded = load(main, fragment=SourceFile(str(path), content))
    if loaded.problems:
        raise ConfigurationError(loaded.problems)
    text = f"{HEAD}{show.document(content)}"
    attributes = _SECRET_FILE if "proxy_url" in content.get("service", {}) else _FILE  # it may hold a password
    with translated(InputOutputError, f"write {path}"):
        replace_file(str(path), text.encode(), attributes, missing=_DIRECTORY)
    return str(path)
