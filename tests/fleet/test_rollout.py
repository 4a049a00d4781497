"""packaging/aws, ansible and cloud-init: each is clean by its own tool, and says what the program takes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import Server
from tests.fleet.conftest import PACKAGING, Run

from rolekeeper.config.load import load_settings

AWS = PACKAGING / "aws"
USER_DATA = PACKAGING / "cloud-init" / "user-data.yaml"
DEREGISTER = AWS / "deregister-dead-nodes"


class Template(yaml.SafeLoader):
    """CloudFormation's short functions as what stands behind them."""


def _function(loader: Template, _suffix: str, node: yaml.Node) -> Any:
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else loader.construct_object(node)


Template.add_multi_constructor("!", _function)


def test_the_template_is_clean(run: Run) -> None:
    done = run("cfn-lint", AWS / "roles.yaml")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_each_role_of_the_template_is_refused_outside_our_networks_as_the_policy_file_says() -> None:
    resources = yaml.load((AWS / "roles.yaml").read_text(), Template)["Resources"]  # noqa: S506 - a SafeLoader
    (statement,) = json.loads((AWS / "only-from-our-networks.json").read_text())["Statement"]
    assert statement["Condition"].pop("NotIpAddress").keys() == {"aws:SourceIp"}
    for role in resources.values():
        policies = {one["PolicyName"]: one["PolicyDocument"] for one in role["Properties"]["Policies"]}
        (denied,) = policies["OnlyFromOurNetworks"]["Statement"]
        assert denied["Condition"].pop("NotIpAddress") == {"aws:SourceIp": "NetworkRanges"}
        assert denied == statement
        assert role["Properties"]["MaxSessionDuration"] == 3600


def test_the_ansible_role_is_clean(run: Run) -> None:
    done = run("ansible-lint", "--offline", "--profile", "production", cwd=PACKAGING / "ansible")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_user_data_is_valid_by_the_schema_of_cloud_init(run: Run) -> None:
    done = run("cloud-init", "schema", "--config-file", USER_DATA, package="cloud-init")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_user_data_writes_a_configuration_that_is_right_and_the_code_for_root_alone(tmp_path: Path) -> None:
    files = {one["path"]: one for one in yaml.safe_load(USER_DATA.read_text())["write_files"]}
    text = files["/etc/rolekeeper/conf.d/50-node.toml"]["content"]
    text = text.replace("ACTIVATION-ID", "12345678-1234-1234-1234-123456789012").replace("REGION", "eu-central-1")
    (tmp_path / "config.toml").write_text(text)
    assert load_settings(tmp_path / "config.toml").node.region == "eu-central-1"
    assert files["/etc/credstore/activation-code"]["permissions"] == "0600"


def deregister(node: Server, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.defpath}", "HOME": str(node.directory)}
    return subprocess.run(
        [DEREGISTER, *arguments],
        env=environment | dict(node.emulator.environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_dead_nodes_are_shown_and_deregistered_only_when_that_is_asked_for(node: Server) -> None:
    listed = node.directory / "dead"
    listed.write_text(f"# silent for 90 days\n{node.node_id}\n")
    shown = deregister(node, str(listed))
    assert (shown.returncode, node.node_id in shown.stdout) == (0, True), shown.stderr
    assert "nothing was changed" in shown.stderr
    assert node.node_id in node.emulator.nodes
    done = deregister(node, "--yes", str(listed))
    assert done.returncode == 0, done.stderr
    assert node.node_id not in node.emulator.nodes


@pytest.mark.parametrize("written", ["i-0123456789abcdef0", "mi-123", "mi-0123456789abcdef0; reboot"])
def test_what_is_no_node_id_goes_no_further(node: Server, written: str) -> None:
    listed = node.directory / "dead"
    listed.write_text(f"{written}\n{node.node_id}\n")
    done = deregister(node, "--yes", str(listed))
    assert done.returncode == 64
    assert f"not a node id: {written}" in done.stderr
    assert node.node_id in node.emulator.nodes
