"""SSM Agent's own configuration: what is read, what an empty value means, and what is malformed."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rolekeeper.adapters.agentconfig import read
from rolekeeper.core.agentsettings import AgentSettings

VAULTS = Path(__file__).parents[1] / "vectors" / "vaults"


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    (tmp_path / "ssm" / "runtimeconfig").mkdir(parents=True)
    return tmp_path / "ssm" / "Vault"


def published(vault: Path, content: Any) -> None:
    path = vault.parent / "runtimeconfig" / "identity_config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def configured(vault: Path, content: Any) -> Path:
    path = vault.parent / "amazon-ssm-agent.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_without_any_file_the_agent_has_its_defaults(vault: Path) -> None:
    assert read(vault, vault.parent / "amazon-ssm-agent.json", {}) == (AgentSettings(), ())
    assert AgentSettings() == AgentSettings("/root/.aws/credentials", "default", shares=True)


@pytest.mark.parametrize("tree", sorted(path.parent.parent.name for path in VAULTS.glob("*/runtimeconfig/*.json")))
def test_what_the_real_agent_wrote_is_its_default(tree: str) -> None:
    assert read(VAULTS / tree / "Vault", None, {}) == (AgentSettings(), ())


def test_where_it_published_is_known_from_beside_its_vault(vault: Path) -> None:
    published(vault, {"ShareFile": "/srv/app/credentials", "ShareProfile": "rack"})
    settings, _ = read(vault, None, {"AWS_SHARED_CREDENTIALS_FILE": "/elsewhere"})
    assert (settings.file, settings.profile) == ("/srv/app/credentials", "rack")


def test_without_that_file_configuration_and_unit_say_it(vault: Path) -> None:
    configuration = configured(vault, {"Profile": {"ShareProfile": "rack"}})
    settings, _ = read(vault, configuration, {"AWS_SHARED_CREDENTIALS_FILE": "/srv/app/credentials"})
    assert (settings.file, settings.profile) == ("/srv/app/credentials", "rack")


def test_everything_in_its_configuration_is_read(vault: Path) -> None:
    configuration = configured(
        vault,
        {
            "Profile": {"ShareCreds": False, "KeyAutoRotateDays": 30},
            "Agent": {"Region": "eu-central-1", "Name": "amazon-ssm-agent"},
            "Ssm": {"Endpoint": "vpce-1.ssm.eu-central-1.vpce.amazonaws.com"},
        },
    )
    settings, warnings = read(vault, configuration, {"https_proxy": "proxy.example:3128"})
    assert settings == AgentSettings(
        shares=False,
        region="eu-central-1",
        endpoint_url="https://vpce-1.ssm.eu-central-1.vpce.amazonaws.com",
        proxy_url="http://proxy.example:3128",
        rotate_after=timedelta(days=30),
    )
    assert warnings == ()


MALFORMED = {
    "{": "is not JSON",
    "[]": "is not a JSON object",
    "\xff": "is not JSON",
    '{"Profile": []}': "Profile.ShareProfile is not an object",
    '{"Profile": {"ShareProfile": 1}}': "Profile.ShareProfile is not text",
    '{"Profile": {"ShareCreds": "yes"}}': "Profile.ShareCreds is not true or false",
    '{"Profile": {"KeyAutoRotateDays": "30"}}': "Profile.KeyAutoRotateDays is not a whole number",
    '{"Profile": {"KeyAutoRotateDays": true}}': "Profile.KeyAutoRotateDays is not a whole number",
    '{"Profile": {"KeyAutoRotateDays": -1}}': "Profile.KeyAutoRotateDays is -1",
    '{"Ssm": {"Endpoint": {}}}': "Ssm.Endpoint is not text",
    "[" * 100_000: "is not JSON",
}


@pytest.mark.parametrize("text", MALFORMED, ids=lambda text: text[:40])
def test_what_is_malformed_is_left_out_with_a_warning(vault: Path, text: str) -> None:
    configuration = configured(vault, "")
    configuration.write_bytes(text.encode("latin-1"))
    settings, warnings = read(vault, configuration, {})
    assert settings == AgentSettings()
    assert f"{configuration}: {MALFORMED[text]}".replace(": is", " is") in warnings


def test_null_is_the_default_and_no_fault(vault: Path) -> None:
    published(vault, {"ShareFile": None, "ShareProfile": None})
    configuration = configured(vault, {"Profile": None, "Ssm": {"Endpoint": None}})
    assert read(vault, configuration, {}) == (AgentSettings(), ())


def test_a_file_that_cannot_be_read_is_left_out_with_a_warning(vault: Path) -> None:
    configuration = vault.parent / "amazon-ssm-agent.json"
    configuration.mkdir()
    settings, warnings = read(vault, configuration, {})
    assert settings == AgentSettings()
    assert warnings == (f"cannot read {configuration}: it is not a regular file",)
