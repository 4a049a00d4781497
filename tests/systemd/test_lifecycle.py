"""An operator's day: everything through systemctl and journalctl, and the commands that they sit beside."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from tests.systemd.conftest import OUTPUT, UNIT, Machine

TOKEN = "RequestManagedInstanceRoleToken"
QUICK_RESTART = "[Service]\nRestartSec=100ms\n"
SHORT_WATCHDOG = "[Service]\nRestartSec=100ms\nWatchdogSec=2\nTimeoutAbortSec=1\n"
IMPATIENT = "[Service]\nExecStart=\nExecStart=/usr/bin/rolekeeper wait --timeout 1s\n"
WAITING = """\
[Unit]
Requires=rolekeeper-wait.service
After=rolekeeper-wait.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/cp /root/.aws/credentials /run/taken
"""

PROMISED = {  # as `systemctl show` says it
    "Type": "notify",
    "NotifyAccess": "main",
    "Restart": "always",
    "RestartUSec": "5s",
    "RestartPreventExitStatus": "78",
    "StartLimitIntervalUSec": "0",
    "WatchdogUSec": "3min",
    "TimeoutStartUSec": "1min",
    "TimeoutStopUSec": "10s",
    "TimeoutAbortUSec": "5s",
    "KillMode": "mixed",
    "OOMPolicy": "continue",
    "StateDirectory": "rolekeeper",
    "RuntimeDirectory": "rolekeeper",
    "ConfigurationDirectory": "rolekeeper",
}
READ_ON_AND_ON = f"""
import configparser, pathlib
count = 0
while not pathlib.Path("/run/stop-reading").exists():
    found = configparser.ConfigParser(default_section="")
    found.read_string(pathlib.Path({OUTPUT!r}).read_text())
    assert found["default"]["aws_secret_access_key"] and found["default"]["aws_session_token"]
    count += 1
print(count)
"""


@pytest.fixture(scope="module")
def machine(new_machine: Callable[..., Machine]) -> Machine:
    """Installed and running, and not registered yet."""
    machine = new_machine()
    machine.configure()
    machine.install()
    return machine


@pytest.fixture
def running(machine: Machine) -> Machine:
    """Registered, with fresh credentials and nothing that an earlier test left behind."""
    machine.service.clear_faults()
    machine.shell(f"rm -rf /etc/systemd/system/{UNIT}.d")
    machine.systemctl("daemon-reload")
    machine.configure()
    if machine.activation is None:
        machine.register()
    machine.systemctl("restart", UNIT)
    machine.rolekeeper("wait", "--timeout", "60s")
    machine.until_published()
    return machine


def until_restarted(machine: Machine, times: int) -> None:
    machine.until(f"systemd restarts it, {times}", lambda: machine.property(UNIT, "NRestarts") == str(times))


def test_an_installed_machine_runs_enabled_and_says_that_it_waits_to_be_registered(machine: Machine) -> None:
    assert machine.property(UNIT, "UnitFileState") == "enabled"
    line = machine.until_status("Unregistered: waiting for `rolekeeper register`")
    assert line in machine.systemctl("status", UNIT).out
    assert machine.until_event("unregistered")["PRIORITY"] == "4"


def test_systemd_has_understood_what_the_unit_promises(machine: Machine) -> None:
    assert {name: machine.property(UNIT, name) for name in PROMISED} == PROMISED
    assert {"network-online.target", "nss-user-lookup.target"} <= set(machine.property(UNIT, "After").split())
    assert "network-online.target" in machine.property(UNIT, "Wants").split()


def test_a_unit_that_requires_credentials_does_not_start_when_none_come(machine: Machine) -> None:
    machine.write("/etc/systemd/system/job.service", WAITING)
    machine.drop_in(IMPATIENT, "rolekeeper-wait.service")
    said = machine.systemctl("start", "job", expect=1)
    assert "dependency" in said.err
    assert machine.property("job", "ActiveState") == "inactive"
    assert "No fresh credentials within 1s" in machine.systemctl("status", "rolekeeper-wait", expect=3).out
    machine.shell("rm -r /etc/systemd/system/rolekeeper-wait.service.d")


def test_a_unit_that_waits_for_credentials_starts_when_the_registration_brings_them(machine: Machine) -> None:
    machine.write("/etc/systemd/system/job.service", WAITING)
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "--no-block", "job")
    machine.until("the job waits", lambda: machine.property("rolekeeper-wait", "ActiveState") == "activating")
    assert machine.property("job", "ActiveState") == "inactive"
    machine.register()  # nobody restarts anything
    machine.until("the job ran", lambda: machine.property("job", "ActiveState") == "active")
    assert machine.until_published() in machine.read("/run/taken")
    assert machine.property("rolekeeper-wait", "Result") == "success"


def test_a_user_who_cannot_see_the_daemons_process_learns_whether_it_runs(running: Machine) -> None:
    """Where /proc is mounted with hidepid=2, only root sees it."""

    def said(*command: str) -> tuple[int, str]:
        as_nobody = f"setpriv --reuid=nobody --regid=nogroup --clear-groups {' '.join(command)}"
        hidden = running.shell(
            f"unshare --mount sh -euc 'mount -t proc -o hidepid=2 proc /proc; exec {as_nobody}'", expect=None
        )
        return hidden.code, hidden.out + hidden.err

    pid = running.pid()
    assert said("test", "-e", f"/proc/{pid}")[0] == 1
    code, shown = said("rolekeeper", "status", "--json")
    assert (code, json.loads(shown)["pid"]) == (0, pid)
    assert said("rolekeeper", "wait", "--timeout", "1s") == (0, "")
    running.systemctl("stop", UNIT)
    code, shown = said("rolekeeper", "status")
    assert code == 3
    assert "no daemon runs on /run/rolekeeper" in shown
    assert said("rolekeeper", "wait", "--timeout", "1s")[0] == 69
    running.systemctl("start", UNIT)


def test_a_restart_of_the_daemon_restarts_nothing_that_waited_for_it(running: Machine) -> None:
    before = running.property("job", "InvocationID")
    running.systemctl("restart", UNIT)
    assert before == running.property("job", "InvocationID") != ""


def test_stopped_it_leaves_the_credentials_and_started_again_it_asks_for_no_others(running: Machine) -> None:
    issued = running.issued()
    running.systemctl("stop", UNIT)
    assert running.access_key_id() == issued[-1]
    assert running.property(UNIT, "Result") == "success"
    assert running.rolekeeper("status", expect=3).code == 3
    running.systemctl("start", UNIT)
    running.until_status("Waiting")
    assert running.issued() == issued


def test_a_good_reload_counts_at_once(running: Machine) -> None:
    pid = running.pid()
    running.configure(f'[[credentials_file]]\npath = "{OUTPUT}"\nprofile = "other"\n')
    running.systemctl("reload", UNIT)
    running.until("the new profile is published", lambda: "[other]" in running.read(OUTPUT))
    running.until("the reload is over", lambda: running.property(UNIT, "ActiveState") == "active")
    assert running.pid() == pid


def test_a_wrong_configuration_fails_the_reload_with_its_reasons_and_the_daemon_stays(running: Machine) -> None:
    pid, reloads = running.pid(), len(running.events("reloaded"))
    running.configure("[refresh]\nat = 7\n[vault]\ndirektory = 1\n")
    assert running.systemctl("reload", UNIT, expect=1).code == 1
    shown = running.systemctl("status", UNIT).out
    assert "refresh.at" in shown
    assert "vault.direktory" in shown
    assert (running.pid(), running.property(UNIT, "ActiveState")) == (pid, "active")
    running.configure()
    running.rolekeeper("refresh")
    assert len(running.events("reloaded")) == reloads


def test_a_reload_prints_no_configuration_into_the_journal(running: Machine) -> None:
    running.systemctl("reload", UNIT)
    running.until_status("Waiting")
    assert running.journal("_COMM=rolekeeper", "-g", "endpoint_url") == []


def test_a_wrong_configuration_at_the_start_is_said_once_and_not_tried_again(running: Machine) -> None:
    running.systemctl("stop", UNIT)
    running.configure("[refresh]\nat = 7\n")
    running.systemctl("start", UNIT, expect=1)
    assert running.property(UNIT, "ExecMainStatus") == "78"
    assert running.property(UNIT, "ActiveState") == "failed"
    assert running.property(UNIT, "NRestarts") == "0"
    shown = running.systemctl("status", "--lines=0", UNIT, expect=3).out
    assert "Stopped: the configuration is wrong: /etc/rolekeeper/conf.d/test.toml: refresh.at: " in shown
    assert "in progress" not in shown
    said = running.rolekeeper("status", expect=78).err
    assert "refresh.at" in said


def test_a_killed_daemon_comes_back_and_the_credentials_are_whole_throughout(running: Machine) -> None:
    running.drop_in(QUICK_RESTART)
    running.shell("rm -f /run/stop-reading")
    with running.background("/usr/bin/python3", "-c", READ_ON_AND_ON) as reader:
        for restarts in (1, 2, 3):
            running.rolekeeper("refresh", "--timeout", "1ms", expect=None)  # does not wait for the outcome
            running.systemctl("kill", "--kill-whom=all", "--signal=KILL", UNIT)
            until_restarted(running, restarts)
            running.until_status("Waiting")
        running.shell("touch /run/stop-reading")
        assert reader.stdout is not None
        assert int(reader.stdout.read()) > 100
    running.rolekeeper("refresh")  # a token that came just before a kill is in no file
    running.until_published()


def test_a_sigterm_that_systemd_did_not_send_ends_no_renewal(running: Machine) -> None:
    """Such as a person's, or that of a daemon against memory shortage: it is answered with 0."""
    running.drop_in(QUICK_RESTART)
    running.run("kill", "-TERM", str(running.pid()))
    until_restarted(running, 1)
    assert running.property(UNIT, "Result") == "success"
    running.rolekeeper("wait", "--timeout", "60s")
    running.rolekeeper("refresh")
    assert running.access_key_id() == running.issued()[-1]


def test_a_daemon_that_does_not_start_is_tried_again_for_ever(running: Machine) -> None:
    running.drop_in("[Service]\nExecStart=\nExecStart=/bin/false\nRestartSec=1ms\n")
    running.systemctl("restart", "--no-block", UNIT)
    often = 3 * int(running.property(UNIT, "StartLimitBurst"))
    running.until(f"{often} restarts", lambda: int(running.property(UNIT, "NRestarts")) > often)
    running.systemctl("stop", UNIT)
    assert running.property(UNIT, "Result") != "start-limit-hit"


def test_a_daemon_that_is_frozen_is_killed_by_the_watchdog_and_comes_back(running: Machine) -> None:
    running.drop_in(SHORT_WATCHDOG)
    running.systemctl("restart", UNIT)
    pid = running.pid()
    running.systemctl("kill", "--kill-whom=main", "--signal=STOP", UNIT)
    until_restarted(running, 1)
    assert any("atchdog" in entry["MESSAGE"] for entry in running.journal("-u", UNIT, f"--since=-{60}s", "-p", "err"))
    running.until_status("Waiting")
    assert running.pid() != pid


def test_an_attempt_that_hangs_is_ended_and_the_watchdog_has_no_part_in_it(running: Machine) -> None:
    running.drop_in(SHORT_WATCHDOG)
    running.configure('[daemon]\nattempt_timeout = "4s"\n')
    running.systemctl("restart", UNIT)
    running.until_status("Waiting")
    running.service.fail(TOKEN, hang=True, times=None)
    running.rolekeeper("refresh", expect=69)
    line = running.until_status("Backing off: Cannot finish the attempt before its deadline")
    assert "credentials fresh" in line
    assert running.property(UNIT, "NRestarts") == "0"


def test_a_start_that_the_service_does_not_answer_is_ready_all_the_same(running: Machine) -> None:
    running.systemctl("stop", UNIT)
    running.shell(f"rm {OUTPUT}")
    running.drop_in("[Service]\nTimeoutStartSec=5\n")  # less than the 20 s after which it is ready in any case
    running.service.fail(TOKEN, hang=True, times=None)
    running.systemctl("start", UNIT)
    assert running.property(UNIT, "ActiveState") == "active"
    assert running.status().startswith("Attempt 1 is in progress")


def test_hibernation_and_its_end_are_seen_through_systemctl_and_journalctl_alone(running: Machine) -> None:
    node = next(iter(running.service.nodes))
    fingerprint = running.service.nodes[node].fingerprint
    running.service.change_fingerprint(node)
    running.rolekeeper("refresh", expect=77)
    line = running.until_status(
        "Hibernating: error occurred in RequestManagedInstanceRoleToken: MachineFingerprintDoesNotMatch"
    )
    assert "; next probe at " in line
    entered = running.until_event("hibernation_entered")
    assert entered["PRIORITY"] == "4"
    assert entered["ROLEKEEPER_NODE_ID"] == node
    assert entered["ROLEKEEPER_CODE"] == "MachineFingerprintDoesNotMatch"
    assert "hint:" in entered["MESSAGE"]
    explained = running.run("journalctl", "--catalog", "--quiet", "ROLEKEEPER_EVENT=hibernation_entered").out
    assert "Subject: " in explained
    running.service.change_fingerprint(node, fingerprint)
    running.systemctl("reload", UNIT)
    running.until_status("Waiting for the refresh point")
    assert running.until_event("hibernation_left")["PRIORITY"] == "6"


def test_a_refresh_is_one_entry_with_its_facts(new_machine: Callable[..., Machine]) -> None:
    machine = new_machine(emulated=timedelta(seconds=3))
    machine.configure()
    machine.install()
    machine.register()
    machine.until("three tokens are published", lambda: len(machine.events("credentials_published")) >= 3)
    machine.systemctl("stop", UNIT)
    events = [entry for entry in machine.journal("-u", UNIT) if "ROLEKEEPER_EVENT" in entry]
    published = [entry for entry in events if entry["ROLEKEEPER_EVENT"] == "credentials_published"]
    assert [entry["ROLEKEEPER_ACCESS_KEY_ID"] for entry in published] == machine.issued()[: len(published)]
    others = [entry["ROLEKEEPER_EVENT"] for entry in events if entry not in published]
    assert others == ["started", "unregistered", "reloaded", "stopping"]  # `register` has it reload
    for entry in published:
        assert entry["PRIORITY"] == "6"
        assert entry["SYSLOG_IDENTIFIER"] == "rolekeeper"
        assert len(entry["MESSAGE_ID"]) == 32
        assert entry["MESSAGE"].startswith("Published role credentials of mi-")
        facts = ("NODE_ID", "REGION", "EXPIRES_AT", "REQUEST_ID", "ATTEMPT")
        assert {f"ROLEKEEPER_{name}" for name in facts} <= entry.keys(), json.dumps(entry)
