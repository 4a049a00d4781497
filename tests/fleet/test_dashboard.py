"""The Grafana dashboard: by Grafana's schema, and each panel filled by a real Prometheus from real daemons' metrics."""

import json
import re
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Server
from tests.daemonprocess.conftest import Daemon, daemons, until
from tests.fleet.conftest import TOOLS
from tests.fleet.test_monitoring import DASHBOARD, RULES
from tests.packages.conftest import left_out, need
from tests.systemd.test_metrics_exporter import free_port

from rolekeeper import __version__
from rolekeeper.emulator import Emulator

SCHEMA = Path(__file__).parent / "dashboard_schema.py"
VARIABLE = re.compile(r"\{\{(\w+)\}\}")
HEALTHY, HIBERNATING, STOPPED = "healthy", "hibernating", "stopped"
Panels = dict[str, dict[str, Any]]


def faults(file: Path) -> list[str]:
    """What Grafana's schema says is wrong with a dashboard."""
    if not (python := TOOLS / "python").exists():
        left_out("`make check` installs Grafana's schema")
    done = subprocess.run([python, SCHEMA, file], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


def test_the_dashboard_is_valid_by_the_schema_of_grafana() -> None:
    assert faults(DASHBOARD) == []


@pytest.mark.parametrize(
    ("right", "wrong", "where"),
    [
        ('"colorMode": "background"', '"colorMode": "bakground"', "options.color_mode"),
        ('"legendFormat"', '"legendformat"', "targets[0].legendformat"),
        ('"h": 8', '"h": "8"', "grid_pos.h"),
    ],
)
def test_the_schema_finds_what_is_wrong(tmp_path: Path, right: str, wrong: str, where: str) -> None:
    bad = tmp_path / "dashboard.json"
    bad.write_text(DASHBOARD.read_text().replace(right, wrong))
    assert any(where in fault for fault in faults(bad))


class Prometheus:
    """Debian's Prometheus, which scrapes an exporter for each server and evaluates the alert rules."""

    def __init__(self, directory: Path, servers: Mapping[str, Server], ends: ExitStack) -> None:
        self.ends = ends
        targets = [
            {"targets": [self.export(directory / name, server)], "labels": {"instance": name}}
            for name, server in servers.items()
        ]
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [{"job_name": "node", "static_configs": targets}],
        }
        (directory / "prometheus.yml").write_text(json.dumps(configuration))
        self.address = f"127.0.0.1:{free_port()}"
        self.start(
            *("prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/tsdb"),
            *(f"--web.listen-address={self.address}", "--log.level=error"),
        )

    def export(self, textfiles: Path, server: Server) -> str:
        """Serve the metrics of a server as docs/operating.md says: by one symlink."""
        textfiles.mkdir()
        (textfiles / "rolekeeper.prom").symlink_to(server.runtime / "metrics.prom")
        address = f"127.0.0.1:{free_port()}"
        self.start(
            *("prometheus-node-exporter", "--collector.disable-defaults", "--collector.textfile"),
            *(f"--collector.textfile.directory={textfiles}", f"--web.listen-address={address}"),
        )
        return address

    def start(self, *command: str) -> None:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.ends.callback(process.wait, 30)
        self.ends.callback(process.terminate)

    def ask(self, path: str, **query: str) -> Any:
        """What the API answers; None while Prometheus starts."""
        try:
            url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE:
                pytest.fail(f"{query}: {error.read().decode()}")
            return None
        except OSError:
            return None

    def samples(self, expression: str) -> list[dict[str, Any]]:
        found = self.ask("query", query=expression)
        return found["result"] if found else []


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Of a node whose credentials are fresh, one that hibernates, and one whose daemon was stopped."""
    need("prometheus-node-exporter", "prometheus-node-exporter")
    need("prometheus", "prometheus")
    directory = tmp_path_factory.mktemp("fleet")
    with Emulator() as emulator, ExitStack() as ends:
        start = ends.enter_context(daemons())
        running: dict[str, Daemon] = {}
        for name in (HEALTHY, HIBERNATING, STOPPED):
            (directory / f"server-{name}").mkdir()
            server = Server(directory / f"server-{name}", emulator)
            server.register()
            running[name] = start(server)
            running[name].until_state("waiting")
        emulator.change_fingerprint(running[HIBERNATING].server.node_id)
        running[HIBERNATING].send(signal.SIGUSR1)
        running[HIBERNATING].until_state("hibernating")
        running[STOPPED].stop()
        found = Prometheus(directory, {name: daemon.server for name, daemon in running.items()}, ends)
        until(lambda: len(found.samples("rolekeeper_build_info")) == len(running), "every exporter is scraped")
        counted = running[HEALTHY].status()["attempts"]
        running[HEALTHY].send(signal.SIGUSR1)  # so that a counter increases between two scrapes
        until(lambda: running[HEALTHY].status()["attempts"] > counted, "an attempt")
        until(lambda: found.samples("increase(rolekeeper_attempts_total[10m]) > 0"), "its scrape")
        yield found


@pytest.fixture(scope="module")
def shown(prometheus: Prometheus) -> Panels:
    """What each panel shows: of a line its name and the last value, of a table its rows."""
    return {panel["title"]: shown_by(panel, prometheus) for panel in json.loads(DASHBOARD.read_text())["panels"]}


def shown_by(panel: dict[str, Any], prometheus: Prometheus) -> dict[str, Any]:
    (target,) = panel["targets"]
    samples = prometheus.samples(target["expr"].replace("$instance", ".*"))
    if panel["type"] != "table":
        return {legend(target, sample["metric"]): float(sample["value"][1]) for sample in samples}
    (organize,) = panel["transformations"]
    hidden, renamed = (organize["options"][key] for key in ("excludeByName", "renameByName"))
    rows = [{**sample["metric"], "Value": float(sample["value"][1]), "Time": sample["value"][0]} for sample in samples]
    kept = [{renamed.get(key, key): cell for key, cell in row.items() if key not in hidden} for row in rows]
    return {"rows": sorted(kept, key=str)}


def legend(target: dict[str, Any], labels: dict[str, str]) -> str:
    """As Grafana names a line. A label that the expression does not keep would be an empty name."""
    return VARIABLE.sub(lambda found: labels[found[1]], target["legendFormat"])


@pytest.mark.parametrize(
    ("title", "count"),
    [
        ("Nodes", 3),
        ("With expired credentials", 0),
        ("Hibernating", 1),
        ("Failing", 1),
        ("Outputs with a problem", 0),
        ("No daemon", 1),
    ],
)
def test_each_number_counts_its_nodes(shown: Panels, title: str, count: int) -> None:
    assert shown[title] == {"": count}


def test_each_line_has_the_name_and_the_value_of_its_node(shown: Panels) -> None:
    states = {state: count for state, count in shown["States"].items() if count}
    assert states == {"waiting": 1, "hibernating": 1, "stopping": 1}
    assert shown["Failures in a row"] == {HIBERNATING: 1}
    assert shown["Hardware as registered"] == dict.fromkeys((HEALTHY, HIBERNATING, STOPPED), 1)
    left = shown["Time left until the first credentials expire"]
    assert left.keys() == {HEALTHY, HIBERNATING, STOPPED}
    assert all(3000 < seconds <= 3600 for seconds in left.values())
    assert all(value < 60 for value in shown["Clock difference"].values())
    assert shown["Age of the node key"].keys() == {HEALTHY, HIBERNATING, STOPPED}
    assert {outcome for outcome, count in shown["Attempts by outcome"].items() if count} == {"issued"}


def test_each_table_has_a_row_for_what_it_is_about(shown: Panels) -> None:
    assert shown["Versions"] == {"rows": [{"version": __version__, "nodes": 3}]}
    assert shown["Outputs that are not fresh"] == {"rows": []}


def test_every_panel_of_the_dashboard_was_looked_at(shown: Panels) -> None:
    empty = {title for title, lines in shown.items() if not lines}
    assert empty == set()


def test_the_alerts_that_fire_name_the_node(prometheus: Prometheus) -> None:
    def firing() -> set[tuple[str, str]]:
        alerts = prometheus.ask("alerts")["alerts"]
        return {(one["labels"]["alertname"], one["labels"]["instance"]) for one in alerts if one["state"] == "firing"}

    until(lambda: ("RolekeeperHibernating", HIBERNATING) in firing(), "the alert")
    rules = prometheus.ask("rules")["groups"][0]["rules"]
    assert {rule["health"] for rule in rules} == {"ok"}
