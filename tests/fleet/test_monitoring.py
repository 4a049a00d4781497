"""packaging/monitoring: rules and dashboard name what metrics.prom has, and the rules fire when they should."""

import json
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import COMMAND, Server
from tests.daemonprocess.conftest import until
from tests.fleet.conftest import PACKAGING, Run
from tests.packages.conftest import need

from rolekeeper.core import metrics
from rolekeeper.core.loop import status
from rolekeeper.core.loop.states import Policy, State
from rolekeeper.model import FingerprintSummary, Holding, Instant, Lifetime, OutputName, OutputReport, Phase, Verdict

MONITORING = PACKAGING / "monitoring"
RULES, TESTS = MONITORING / "rolekeeper.rules.yml", MONITORING / "rolekeeper.rules-test.yml"
DASHBOARD = MONITORING / "rolekeeper.dashboard.json"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
NAME = re.compile(r"\brolekeeper_\w+")
LABEL = re.compile(r'(\w+)(?:=~|!=|=)"')


def everything() -> str:
    """metrics.prom of a node of which everything is known."""
    life = Lifetime(NOON, NOON + timedelta(hours=1), timedelta(days=1))
    output = OutputReport(OutputName("/root/.aws/credentials", "default"), "", Holding.OURS, "ASIA", life)
    state = State(
        Phase.HIBERNATING,
        policy=Policy(0.5, timedelta(minutes=5), timedelta(hours=1), (output,)),
        node_id="mi-0123456789abcdef0",
        region="eu-central-1",
        due=None,
        hibernating_since_at=NOON,
        last_success_at=NOON,
        fingerprint=FingerprintSummary(Verdict.SIMILAR, 9, 9, 40),
        clock_difference=timedelta(seconds=1),
        key_created_at=NOON,
        outputs={output.name: output},
        published_at={output.name: NOON},
        loaded_at=NOON,
    )
    document = status.of(state, Instant(NOON, timedelta(days=1)), 1, "1.2.3", boot_id="b00t")
    return metrics.render(state, document) + "rolekeeper_next_attempt_timestamp_seconds 0\n"


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> list[str]:
    of_panels = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [rule["expr"] for rule in rules()] + of_panels


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_and_label_that_is_asked_for_exists(expression: str) -> None:
    written = everything()
    for name in NAME.findall(expression):
        assert re.search(rf"^{name}\b", written, re.MULTILINE), name
    for label in set(LABEL.findall(expression)) - {"instance"}:
        assert f'{label}="' in written, label


def test_the_rules_fire_when_they_should_and_only_then(run: Run) -> None:
    for arguments in (("check", "rules", RULES.name), ("test", "rules", TESTS.name)):
        done = run("promtool", *arguments, cwd=MONITORING, package="prometheus")
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases = [case for one in yaml.safe_load(TESTS.read_text())["tests"] for case in one["alert_rule_test"]]
    names = {rule["alert"] for rule in rules()}
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == names
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == names
    assert all(rule["labels"]["severity"] in ("critical", "warning") for rule in rules())


def test_the_page_for_the_pager_begins_with_every_alert() -> None:
    page = (PACKAGING.parent / "docs" / "operating.md").read_text()
    _, first, _ = page.split("\n## ", 2)
    assert first.startswith("The pager rings\n")
    told = set(re.findall(r"`(Rolekeeper\w+)`", first))
    assert told == {rule["alert"] for rule in rules()}


def test_every_panel_asks_what_prometheus_understands_and_has_a_place_of_its_own(run: Run, tmp_path: Path) -> None:
    recorded = [
        {"record": f"panel:{panel['id']}:{index}", "expr": target["expr"].replace("$instance", ".*")}
        for panel in panels()
        for index, target in enumerate(panel["targets"])
    ]
    (tmp_path / "panels.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": recorded}]}))
    done = run("promtool", "check", "rules", "panels.yml", cwd=tmp_path, package="prometheus")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len({panel["id"] for panel in panels()}) == len(panels())
    places = [
        (panel["gridPos"]["x"], panel["gridPos"]["y"], panel["gridPos"]["w"], panel["gridPos"]["h"])
        for panel in panels()
    ]
    cells = [(x + i, y + j) for x, y, w, h in places for i in range(w) for j in range(h)]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24  # the columns of Grafana
    assert all(panel["description"] for panel in panels())


@pytest.mark.parametrize("file", ["rolekeeper.icinga2.conf", "rolekeeper.nagios.cfg"])
def test_the_check_commands_call_what_answers_a_monitoring(server: Server, file: str) -> None:
    text = (MONITORING / file).read_text()
    words = [word for word in ("/usr/bin/rolekeeper", "status", "--check") if word in text]
    assert words == ["/usr/bin/rolekeeper", "status", "--check"]
    said = server.run(*words[1:])
    assert said.code in range(4)
    assert said.out.startswith(("OK", "WARNING", "CRITICAL", "UNKNOWN"))


ICINGA = """
include "{check}"
object CheckerComponent "checker" {{}}
object Host "web" {{
  check_command = "rolekeeper"
  vars.rolekeeper = true
  vars.rolekeeper_config = "{server.config}"
}}
"""


@pytest.mark.usefixtures("as_root")
def test_icinga_itself_runs_the_check_on_every_host_that_has_rolekeeper(node: Server) -> None:
    need("icinga2", "icinga2-bin")
    check, called = node.directory / "check.conf", node.directory / "called"
    command = node.directory / "rolekeeper"
    command.write_text(f'#!/bin/sh\necho "$@" >>{called}\nexec {COMMAND} "$@"\n')
    command.chmod(0o755)
    text = (MONITORING / "rolekeeper.icinga2.conf").read_text()
    check.write_text(
        text.replace("/usr/bin/rolekeeper", str(command)).replace("check_interval = 1m", "check_interval = 1s")
    )
    main = node.directory / "icinga2.conf"
    main.write_text(ICINGA.format(check=check, server=node))
    places = [f"-D{name}={node.directory}" for name in ("DataDir", "CacheDir", "LogDir", "InitRunDir", "SpoolDir")]
    icinga = ["icinga2", "daemon", "-c", main, "-DRunAsUser=root", "-DRunAsGroup=root", "-x", "notice", *places]
    seen = node.directory / "seen"
    with seen.open("wb") as log, subprocess.Popen(icinga, stdout=log, stderr=log) as running:
        try:
            until(lambda: "'web!rolekeeper'" in seen.read_text() and "CRITICAL" in seen.read_text(), "a check")
        finally:
            running.terminate()
    assert f"--config {node.config} status --check" in called.read_text().splitlines()
