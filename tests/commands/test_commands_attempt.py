"""`attempt`, `fingerprint`, and the verbs that want a daemon when there is none."""

import json
import os
import socket
import subprocess
import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from botocore.configloader import raw_config_parse
from tests.conftest import LONGEST, Server, rebound
from tests.daemonprocess.conftest import daemons

from rolekeeper.adapters.clock import SystemClock
from rolekeeper.adapters.supervision.runtime import FileRuntimeDirectory
from rolekeeper.adapters.vault.store import FileVault
from rolekeeper.core.loop.status import FIELDS
from rolekeeper.model import COMPONENTS, SMBIOS_COMPONENTS, VaultContents

TOKEN = "RequestManagedInstanceRoleToken"
REPORT = ["outcome", "code", "message", "hint", "request_id", "expires_at", "published", "fingerprint"]


def with_saved_hash(server: Server, **components: str) -> None:
    """Let the vault remember other hardware than there is."""
    vault = FileVault(server.directory / "vault", SystemClock())
    contents = vault.load()
    assert contents.fingerprint is not None
    changed = {name.replace("_", "-"): value for name, value in components.items()}
    with vault.lock(timedelta(seconds=LONGEST)):
        vault.save(rebound(contents, hardware_hash={**contents.fingerprint.hardware_hash, **changed}))


def test_an_attempt_publishes_and_prints_its_outcome(node: Server) -> None:
    said = node.run("attempt")
    assert (said.code, said.err) == (0, "")
    assert list(said.json) == REPORT
    token = node.tokens()[-1]
    assert (said.json["outcome"], said.json["code"], said.json["published"]) == ("issued", "", [str(node.output)])
    assert abs(datetime.fromisoformat(said.json["expires_at"]) - token.expires_at) < timedelta(milliseconds=1)
    figures = {"verdict": "similar", "matched": 9, "compared": 9, "threshold": 40, "decided_by": ""}
    assert said.json["fingerprint"] == figures
    assert said.json["request_id"] in {request.request_id for request in node.emulator.requests}
    assert raw_config_parse(str(node.output))["default"]["aws_access_key_id"] == token.access_key_id


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide a file of the kernel's")
def test_a_boot_that_nothing_tells_costs_no_token_and_no_word_of_how_old_one_is(node: Server) -> None:
    hide = 'mount -t tmpfs none /proc/sys/kernel/random && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", hide, "sh", *node.command("attempt")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False, env=node.environment())
    report = json.loads(done.stdout)
    assert (done.returncode, report["outcome"], report["code"]) == (74, "hardware-unreadable", "boot-unknown")
    assert "/proc/sys/kernel/random/boot_id" in report["message"]
    assert (report["hint"] != "", node.tokens(), "Traceback" in done.stderr) == (True, [], False)


def test_a_file_is_named_once_however_many_of_its_profiles_are_published(node: Server) -> None:
    node.configure(f'[[credentials_file]]\npath = "{node.output}"\nprofile = "second"\n')
    assert node.run("attempt").json["published"] == [str(node.output)]
    assert {"default", "second"} <= raw_config_parse(str(node.output)).keys()


@pytest.mark.parametrize(
    ("error", "outcome", "exit_code"),
    [
        ("InternalServerError", "failed", 69),
        ("AccessDeniedException", "refused", 77),
        ("MachineFingerprintDoesNotMatch", "fingerprint-refused", 77),
        ("InvalidInstanceId", "node-unknown", 77),
    ],
)
def test_an_attempt_ends_with_the_exit_code_of_its_outcome(
    node: Server, error: str, outcome: str, exit_code: int
) -> None:
    node.emulator.fail(TOKEN, error=error)
    said = node.run("attempt")
    assert said.code == exit_code
    assert (said.json["outcome"], said.json["published"], said.json["expires_at"]) == (outcome, [], None)
    assert said.json["message"].startswith(f"Cannot request a role token for {node.node_id}")
    assert said.json["hint"]


def test_an_attempt_that_nobody_answers_is_failed(node: Server) -> None:
    node.configure(service='read_timeout = "200ms"')
    node.emulator.fail(TOKEN, hang=True)
    said = node.run("attempt")
    assert (said.code, said.json["code"]) == (69, "timeout")


def test_an_attempt_that_cannot_publish_is_an_input_output_error(node: Server) -> None:
    node.output.mkdir(parents=True)
    said = node.run("attempt")
    assert (said.code, said.json["outcome"]) == (74, "unpublished")
    assert str(node.output) in said.json["message"]


def test_a_ca_bundle_that_cannot_be_read_is_an_input_output_error_of_every_verb(node: Server) -> None:
    node.activation = node.emulator.create_activation()
    node.configure(service=f'ca_bundle = "{node.directory}/none.pem"')
    said = node.run("attempt")
    assert (said.code, said.json["outcome"], said.json["code"]) == (74, "failed", "ca-bundle-unreadable")
    by_force = node.run(*node.registration(), "--force", stdin=node.activation.code)
    assert (by_force.code, by_force.out) == (74, "")
    assert "[ca-bundle-unreadable]" in by_force.err
    with daemons() as start:
        start(node).until_state("backing-off")
        assert node.run("refresh").code == 74


def test_an_attempt_warns_of_a_key_change_that_is_not_finished(node: Server) -> None:
    node.emulator.request_rotation(node.node_id)
    node.emulator.fail("UpdateManagedInstancePublicKey", error="InternalServerError")
    said = node.run("attempt")
    assert (said.code, said.json["code"]) == (0, "")
    assert said.err.startswith(f"rolekeeper: Rotating the node key of {node.node_id} continues at the next attempt: ")
    assert "\n  hint: " in said.err


def test_an_attempt_on_a_damaged_vault_is_an_input_output_error(node: Server) -> None:
    (node.directory / "vault" / "vault.json").write_text("{")
    said = node.run("attempt")
    assert (said.code, said.json["outcome"]) == (74, "vault-unreadable")
    assert "/vault.json: it is not JSON" in said.json["message"]


def test_an_attempt_without_a_registration_is_refused(server: Server) -> None:
    server.emulator.forget_requests()
    said = server.run("attempt")
    assert server.emulator.requests == ()
    assert not server.output.exists()
    assert (said.code, said.json["outcome"]) == (77, "unregistered")
    assert "rolekeeper register" in said.json["hint"]


def test_an_attempt_by_hand_does_not_need_what_a_persons_shell_has_set(node: Server) -> None:
    home = node.directory / ".aws"
    home.mkdir()
    (home / "config").write_text("[default]\nendpoint_url = http://127.0.0.1:1\nregion = eu-south-9\n")
    (home / "credentials").write_text("[default\n")
    trap = {"AWS_PROFILE": "none", "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "AKIAX"}
    assert node.run("attempt", env={**trap, "AWS_DATA_PATH": str(home), "AWS_REGION": "xx"}).code == 0


def test_fingerprint_shows_every_component(node: Server) -> None:
    said = node.run("fingerprint")
    assert (said.code, said.err) == (0, "")
    *components, verdict = said.out.splitlines()
    assert [line.split()[0] for line in components] == list(COMPONENTS)
    assert {line.split()[1] for line in components} == {"matched"}
    assert verdict == "9 of 9 match, threshold 40%: similar"
    assert node.run("fingerprint", "show").out == said.out


def test_fingerprint_tells_what_changed(node: Server) -> None:
    with_saved_hash(node, hostname_info="before", macaddr_info="")
    document = node.run("fingerprint", "--json").json
    changed = {one["name"]: one for one in document["components"] if one["state"] == "changed"}
    assert set(changed) >= {"hostname-info"}
    assert changed["hostname-info"]["saved"] == "before"
    assert "before -> " in node.run("fingerprint").out
    assert (document["compared"], document["threshold"], document["verdict"]) == (9, 40, "similar")


def test_fingerprint_check_says_no_with_its_exit_code(node: Server) -> None:
    assert node.run("fingerprint", "check").code == 0
    with_saved_hash(node, machine_id="another\n")
    said = node.run("fingerprint", "check")
    assert said.code == 77
    assert "8 of 9 match, threshold 40%: not-similar, because machine-id differs, which alone decides" in said.out
    assert "machine-id was" not in said.err
    assert node.run("fingerprint", "show").code == 0
    with_saved_hash(node, machine_id="")
    assert "machine-id was empty or absent at the registration" in node.run("fingerprint", "check").err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can put another machine-id in place")
def test_an_empty_machine_id_is_warned_of(server: Server, tmp_path: Path) -> None:
    (tmp_path / "machine-id").touch()
    server.activation = server.emulator.create_activation()
    (tmp_path / "code").write_text(server.activation.code)
    arguments = (*server.registration(), "--activation-code-file", str(tmp_path / "code"))
    said = run_with(server, tmp_path / "machine-id", *arguments, over="/etc/machine-id").stderr
    assert "machine-id was empty or absent at the registration" in said
    assert "systemd-machine-id-setup" in said
    with_saved_hash(server, machine_id="another\n")
    said = run_with(server, tmp_path / "machine-id", "fingerprint", "check", over="/etc/machine-id", code=74).stderr
    assert "machine-id is empty or absent now, and it decides alone" in said


def run_with(
    node: Server, place: Path, *arguments: str, over: str = "/usr/sbin", code: int = 0
) -> subprocess.CompletedProcess[str]:
    """What a verb does where `place` is at another path."""
    script = f'mount --bind "$0" {over} && exec "$@"'
    command = ["unshare", "--mount", "/bin/sh", "-c", script, str(place), *node.command(*arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=node.environment(), timeout=LONGEST)
    assert done.returncode == code, done.stderr
    return done


def check_with(node: Server, sbin: Path) -> str:
    return run_with(node, sbin, "fingerprint", "check").stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can put another /usr/sbin in place")
def test_a_program_that_hangs_leaves_a_short_attempt_time_for_the_request(node: Server, tmp_path: Path) -> None:
    node.configure(daemon='attempt_timeout = "20s"')
    (tmp_path / "sbin").mkdir()
    (tmp_path / "sbin" / "dmidecode").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "sbin" / "dmidecode").chmod(0o755)
    report = json.loads(run_with(node, tmp_path / "sbin", "attempt").stdout)
    assert (report["outcome"], report["fingerprint"]["verdict"]) == ("issued", "similar")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can put another /usr/sbin in place")
def test_fingerprint_check_warns_when_a_clone_would_look_the_same(node: Server, tmp_path: Path) -> None:
    sbin = tmp_path / "sbin"
    sbin.mkdir()
    smbios = dict.fromkeys((name.replace("-", "_") for name in SMBIOS_COMPONENTS), "saved")
    with_saved_hash(node, **smbios)
    assert "are empty: a copy of this disk on other hardware would look similar" in check_with(node, sbin)
    (sbin / "dmidecode").write_text("#!/bin/sh\necho table\n")
    (sbin / "dmidecode").chmod(0o755)
    assert check_with(node, sbin) == ""
    with_saved_hash(node, **dict.fromkeys(smbios, ""))
    assert "were empty when the fingerprint was bound to them" in check_with(node, sbin)


def test_the_threshold_is_set_and_switched_off(node: Server) -> None:
    with_saved_hash(node, machine_id="another\n")
    assert node.run("fingerprint", "threshold", "90").out == "Similarity threshold: 90%\n"
    assert node.run("fingerprint", "--json").json["threshold"] == 90
    assert node.run("fingerprint", "check").code == 77
    assert node.run("fingerprint", "threshold", "off").code == 0
    assert node.run("fingerprint", "check").code == 0
    assert node.run("attempt").code == 0


def test_other_hardware_is_accepted_in_one_command(node: Server) -> None:
    with_saved_hash(node, machine_id="another\n", hostname_info="before")
    assert node.run("fingerprint", "check").code == 77
    said = node.run("fingerprint", "accept")
    told = f"Accepted this hardware for {node.node_id}; changed: machine-id, hostname-info.\n"
    assert (said.code, said.out, said.err) == (0, told, "")
    assert node.run("fingerprint", "check").out.endswith("\n9 of 9 match, threshold 40%: similar\n")
    assert node.run("attempt").code == 0
    again = node.run("fingerprint", "accept", "--json")
    assert (again.code, again.json) == (0, {"node_id": node.node_id, "changed": [], "unreadable": []})


def test_hardware_is_not_accepted_against_the_service(node: Server) -> None:
    with_saved_hash(node, machine_id="another\n")
    before = node.vault()
    node.emulator.change_fingerprint(node.node_id)
    said = node.run("fingerprint", "accept")
    assert (said.code, said.out) == (77, "")
    assert f"Cannot accept this hardware for {node.node_id}: " in said.err
    assert "[MachineFingerprintDoesNotMatch]" in said.err
    assert node.vault() == before


@pytest.mark.parametrize("arguments", [("show",), ("accept",), ("threshold", "40")], ids=" ".join)
def test_there_is_no_fingerprint_without_a_registration(server: Server, arguments: tuple[str, ...]) -> None:
    said = server.run("fingerprint", *arguments)
    assert (said.code, said.out) == (77, "")
    assert "No registration in the vault" in said.err


def test_without_a_daemon_status_says_so(node: Server) -> None:
    said = node.run("status")
    assert (said.code, said.out) == (3, "")
    assert f"no daemon runs on {node.runtime}" in said.err
    document = node.run("status", "--json")
    assert document.code == 3
    assert document.json == dict.fromkeys(FIELDS)


@pytest.mark.parametrize("arguments", [("refresh",), ("wait", "--timeout", "1ms")], ids=" ".join)
def test_without_a_daemon_there_is_nobody_to_refresh_or_to_wait_for(node: Server, arguments: tuple[str, ...]) -> None:
    said = node.run(*arguments)
    assert (said.code, said.out) == (69, "")
    assert "daemon runs" in said.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can let somebody else be the daemon")
def test_that_the_daemon_may_not_be_signalled_is_told_by_refresh_and_spoils_no_other_command(node: Server) -> None:
    """As for a daemon in a container of its own, and a root without CAP_KILL."""

    def run(*arguments: str) -> tuple[int, str, str]:
        command = ["setpriv", "--bounding-set=-kill", *node.command(*arguments)]
        done = subprocess.run(
            command, input=code.code, capture_output=True, text=True, check=False, env=node.environment()
        )
        return done.returncode, done.stdout, done.stderr

    code = node.activation = node.emulator.create_activation()
    other = subprocess.Popen(["/bin/sleep", "600"], user=12345)
    try:
        FileRuntimeDirectory(other.pid).claim(str(node.runtime))
        refused = (
            f"rolekeeper: Cannot signal the daemon with pid {other.pid}: Operation not permitted [daemon-not-told]\n"
        )
        assert run("refresh") == (69, "", f"{refused}  hint: run this as the daemon's user, or with sudo\n")
        assert run("fingerprint", "threshold", "50") == (0, "Similarity threshold: 50%\n", "")
        registered = run(*node.registration(), "--force")
        assert (registered[0], "or it could not be signalled" in registered[2]) == (0, True)
        assert run("clear", "--yes")[::2] == (0, "")
        assert node.vault() == VaultContents()
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give the lock to another user")
def test_refresh_by_another_user_than_the_daemons_names_sudo(node: Server) -> None:
    """The lock is its daemon's alone (0600); without these capabilities root is an ordinary user."""
    FileRuntimeDirectory(os.getpid()).claim(str(node.runtime))
    lock = node.runtime / "lock"
    os.chown(lock, 12345, 12345)
    command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *node.command("refresh")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=node.environment())
    assert (done.returncode, done.stdout) == (74, "")
    assert done.stderr == (
        f"rolekeeper: Cannot read {lock}: Permission denied [permission-denied]\n"
        "  hint: run this as the daemon's user, or with sudo\n"
    )


def test_a_status_file_that_is_cut_short_matters_less_than_a_daemon_that_is_gone(node: Server) -> None:
    """One that starts writes the file anew."""
    node.runtime.mkdir()
    (node.runtime / "status.json").write_text('{"state": ')
    assert node.run("status").code == 3
    assert node.run("refresh").code == 69


def test_a_status_file_left_behind_does_not_speak_for_a_daemon_that_is_gone(node: Server) -> None:
    node.runtime.mkdir()
    (node.runtime / "lock").write_text("1\n")
    assert node.run("status").code == 3
    assert node.run("refresh").code == 69


@pytest.mark.parametrize("value", ["0", "101", "40%", "-1", "on", "1" * 5000])
def test_what_is_no_threshold_is_refused(node: Server, value: str) -> None:
    assert node.run("fingerprint", "threshold", "--", value).code == 64


@pytest.mark.parametrize(("value", "threshold"), [("50", 50), ("off", -1)])
def test_the_threshold_is_told_as_json_when_asked_for(node: Server, value: str, threshold: int) -> None:
    assert node.run("fingerprint", "threshold", value, "--json").json == {"threshold": threshold}


def test_an_attempt_takes_the_option_that_every_other_verb_has(node: Server) -> None:
    assert node.run("attempt", "--json").json["outcome"] == "issued"


def test_an_answer_without_end_in_its_first_line_is_told_in_time(node: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LONGEST)
        thread = threading.Thread(target=_answer_at_length, args=(listener,))
        thread.start()
        node.configure(daemon='attempt_timeout = "10s"')
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        node.config.write_text(node.config.read_text().replace(node.emulator.url, url))
        said = node.run("attempt")
        thread.join()
    assert (said.code, said.json["outcome"], said.json["code"]) == (69, "failed", "unusable-answer")


def _answer_at_length(listener: socket.socket) -> None:
    peer, _ = listener.accept()
    with peer:
        peer.recv(65536)
        peer.sendall(b"x" * 65000 + b"\r\n\r\n")


@pytest.mark.parametrize("verb", ["attempt", "register"])
def test_a_silent_service_is_given_up_at_the_deadline_and_the_hint_names_its_setting(node: Server, verb: str) -> None:
    """While the network waits with a longer patience of its own."""
    node.emulator.fail("RequestManagedInstanceRoleToken", hang=True)
    node.emulator.fail("RegisterManagedInstance", hang=True)
    node.configure(daemon='attempt_timeout = "5s"', service='read_timeout = "30s"')
    node.activation = node.emulator.create_activation()
    arguments = ["attempt"] if verb == "attempt" else [*node.registration(), "--force"]
    said = node.run(*arguments, stdin=node.activation.code)
    assert said.code == 69
    assert "[deadline]" in said.err or said.json["code"] == "deadline"
    assert "`[daemon] attempt_timeout` says how long it may take" in f"{said.err}{said.out}"


def test_an_attempt_loads_no_sdk_and_nothing_that_only_key_files_need(node: Server) -> None:
    said = node.process("attempt", options=["-I", "-X", "importtime"])
    loaded = {line.rpartition("|")[2].strip() for line in said.err.splitlines()}
    assert (said.code, said.json["outcome"]) == (0, "issued")
    assert {"http.client", "cryptography.hazmat.primitives.asymmetric.rsa"} <= loaded
    assert loaded.isdisjoint({"botocore", "boto3", "urllib3", "cryptography.hazmat.primitives.serialization"})


def test_a_node_of_another_region_than_the_services_is_told_so(node: Server) -> None:
    """As after `register --region` with the wrong one, on an endpoint that does not tell its region."""
    other = "eu-west-1" if node.emulator.region != "eu-west-1" else "us-east-1"
    node.activation = node.emulator.create_activation()
    register = [*node.registration()[:-1], other, "--force"]
    assert node.run(*register, stdin=node.activation.code).code == 0
    said = node.run("attempt")
    assert (said.code, said.json["code"]) == (77, "region-mismatch")
    assert f"the node's region is {other}" in said.json["message"]
    node.config.write_text(node.config.read_text().replace(node.emulator.url, "https://ssm.us-west-2.amazonaws.com"))
    said = node.run(*register, stdin=node.activation.code)
    assert (said.code, said.out) == (77, "")
    assert "[region-mismatch]" in said.err
    assert "register in us-west-2, with an activation of that region" in said.err
