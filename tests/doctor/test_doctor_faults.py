"""Each planted fault is found by name: the link that is broken, its code, a remedy, and the exit code.

Faults that need a real systemd are planted in tests/systemd/test_doctor.py.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Server, rebound
from tests.daemonprocess.conftest import Daemon, published, until
from tests.doctor.conftest import Doctor
from tests.ssm.certificates import DAY, Authority
from tests.ssm.test_proxies import Tunnel

from rolekeeper.emulator import Emulator
from rolekeeper.model import SMBIOS_COMPONENTS, THRESHOLD_OFF, IssueRecord, Lifetime
from rolekeeper.values import replace

TOKEN = "RequestManagedInstanceRoleToken"
ASSUME = "AssumeRole"
AWS = "ssm.us-east-1.amazonaws.com"
ROLE = '[[role]]\nname = "web"\narn = "arn:aws:iam::123456789012:role/web"\n'


def sts(emulator: Emulator) -> str:
    return f'sts_endpoint_url = "{emulator.url}"'


# Configuration


def test_a_wrong_key(doctor: Doctor) -> None:
    doctor.server.configure("[refresh]\nat = 2\n")
    found = doctor.failed("configuration", "configuration-invalid", 78)
    assert f"{doctor.server.config}: refresh.at: must be" in found["message"]
    assert doctor.level("vault") == "ok"


def test_a_policy_file_that_is_missing(doctor: Doctor) -> None:
    doctor.server.configure(f'{ROLE}policy_file = "/nonexistent"\n')
    assert "role[0].policy_file" in doctor.failed("configuration", "configuration-invalid", 78)["message"]


def test_an_owner_that_does_not_exist(doctor: Doctor) -> None:
    doctor.server.configure(output='owner = "no-such-user"')
    assert doctor.finding("configuration", "configuration-doubtful")["level"] == "warning"
    assert doctor.finding("output", "unknown-user")["level"] == "failed"


def test_after_a_configuration_that_cannot_be_read_only_the_unit_is_looked_at(doctor: Doctor) -> None:
    doctor.server.config.unlink()
    said = doctor.says()
    assert said.code == 78
    told = [(one["name"], one["level"]) for one in said.json["findings"]]
    assert told == [("configuration", "failed"), ("unit", "skipped"), ("daemon", "skipped")]


# Daemon


def test_no_daemon(doctor: Doctor) -> None:
    assert "no daemon runs on" in doctor.failed("daemon", "no-daemon", 69)["message"]


@pytest.mark.usefixtures("running")
def test_a_daemon_on_an_older_configuration(doctor: Doctor) -> None:
    doctor.server.configure("[refresh]\nat = 0.4\n")
    assert doctor.failed("daemon", "configuration-not-in-force", 69)["hint"] == "systemctl reload rolekeeper"


@pytest.mark.usefixtures("running")
def test_a_node_that_hibernates(doctor: Doctor, emulator: Emulator) -> None:
    emulator.fail(TOKEN, error="MachineFingerprintDoesNotMatch")
    doctor.server.run("refresh")
    found = doctor.failed("daemon", "MachineFingerprintDoesNotMatch", 77)
    assert "hibernating" in found["message"]


def test_a_role_that_the_daemon_was_refused(doctor: Doctor, emulator: Emulator, running: Daemon) -> None:
    doctor.server.configure(f'{ROLE}[[endpoint]]\nname = "web"\nrole = "web"\n', service=sts(emulator))
    emulator.fail(ASSUME, error="AccessDenied", times=None)
    running.send(1)
    until(lambda: any(one["problem"] for one in doctor.server.status_file()["outputs"]), "the refusal")
    found = doctor.finding("credentials", "role-refused")
    assert found["subject"] == "endpoint web"
    assert "trust policy" in found["hint"]


# Vault


def test_a_damaged_vault(doctor: Doctor) -> None:
    (doctor.server.directory / "vault" / "vault.json").write_bytes(b"{")
    assert "vault.json" in doctor.finding("vault", "vault-damaged")["message"]
    assert doctor.level("hardware") == "skipped"
    assert doctor.level("service") == "ok"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_vault_of_another_owner(doctor: Doctor) -> None:
    os.chown(doctor.server.directory / "vault" / "vault.json", 12345, -1)
    assert doctor.finding("vault", "vault-foreign-owner")["exit_code"] == 74


def test_a_vault_in_another_layout(doctor: Doctor) -> None:
    (doctor.server.directory / "vault" / "vault.json").unlink()
    (doctor.server.directory / "vault" / "Manifest").touch()
    assert "rolekeeper adopt" in doctor.finding("vault", "vault-other-layout")["hint"]


def test_a_vault_that_others_may_enter(doctor: Doctor) -> None:
    (doctor.server.directory / "vault").chmod(0o755)
    assert "mode 0755" in doctor.finding("vault", "vault-open")["message"]


def test_a_machine_that_is_not_registered(server: Server) -> None:
    doctor = Doctor(server)
    assert "rolekeeper register" in doctor.finding("vault", "unregistered")["hint"]
    assert doctor.level("service") == "ok"


# Hardware


def test_hardware_that_is_not_similar(doctor: Doctor) -> None:
    doctor.save(rebound(doctor.server.vault(), hardware_hash={"machine-id": "another\n"}))
    found = doctor.finding("hardware", "hardware-not-similar")
    assert "machine-id differs, which alone decides" in found["message"]
    assert found["exit_code"] == 77


def hash_of(doctor: Doctor, **changes: str) -> dict[str, str]:
    node = doctor.server.vault().node
    assert node is not None
    return {**node.accepted.hardware_hash, **changes}


def test_a_fingerprint_without_smbios(doctor: Doctor) -> None:
    bound = hash_of(doctor, **dict.fromkeys(SMBIOS_COMPONENTS, ""))
    doctor.save(rebound(doctor.server.vault(), hardware_hash=bound))
    codes = {one["code"] for one in doctor.findings() if one["name"] == "hardware"}
    assert codes & {"smbios-absent", "smbios-unbound"}


def test_a_fingerprint_without_machine_id(doctor: Doctor) -> None:
    doctor.save(rebound(doctor.server.vault(), hardware_hash=hash_of(doctor, **{"machine-id": ""})))
    assert "systemd-machine-id-setup" in doctor.finding("hardware", "machine-id-empty")["hint"]


def test_a_threshold_that_is_off(doctor: Doctor) -> None:
    doctor.save(rebound(doctor.server.vault(), threshold=THRESHOLD_OFF))
    assert doctor.finding("hardware", "threshold-off")["hint"] == "rolekeeper fingerprint threshold 40"


# Network


def configured(doctor: Doctor, url: str | None, service: str = "") -> Doctor:
    text = f"[service]\n{f'endpoint_url = {chr(34)}{url}{chr(34)}' if url else ''}\n{service}\n"
    server = doctor.server
    server.config.write_text(
        f'{text}[vault]\ndirectory = "{server.directory}/vault"\n[daemon]\nruntime_directory = "{server.runtime}"\n'
        f'[[credentials_file]]\npath = "{server.output}"\n'
    )
    return doctor


def test_a_name_without_an_address(doctor: Doctor) -> None:
    found = configured(doctor, "http://ssm.no-such-host.invalid").finding("name", "name-unresolvable")
    assert "ssm.no-such-host.invalid" in found["message"]
    assert "resolv.conf" in found["hint"]
    assert {doctor.level(name) for name in ("route", "service", "clock", "token")} == {"skipped"}


def test_a_region_that_is_not_the_endpoints(doctor: Doctor) -> None:
    configured(doctor, "https://ssm.eu-west-1.amazonaws.com")
    assert doctor.finding("name", "region-mismatch")["exit_code"] == 77


@contextmanager
def deaf() -> Iterator[int]:
    """The port of a listener whose queue is full: it answers no attempt to connect."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for client in (first, second):
            client.setblocking(False)  # noqa: FBT003 - the method takes it so
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def test_a_port_that_refuses(doctor: Doctor) -> None:
    found = configured(doctor, f"http://127.0.0.1:{free_port()}").finding("route", "connection-refused")
    assert found["exit_code"] == 69


def test_a_firewall_that_drops(doctor: Doctor) -> None:
    with deaf() as port:
        assert "firewall" in configured(doctor, f"http://127.0.0.1:{port}").finding("route", "timeout")["hint"]


def test_a_proxy_that_is_not_there(doctor: Doctor) -> None:
    port = free_port()
    configured(doctor, None, f'proxy_url = "http://user:secret@127.0.0.1:{port}"')
    found = doctor.finding("route", "connection-refused")
    assert str(port) in found["message"]
    assert "secret" not in doctor.says().out


def test_a_proxy_that_refuses(doctor: Doctor, emulator: Emulator) -> None:
    configured(doctor, None, f'proxy_url = "{emulator.url}"')  # it knows no CONNECT
    found = doctor.finding("proxy", "proxy-failed")
    assert "service.proxy_url" in found["hint"]
    assert doctor.level("route") == "ok"
    assert doctor.level("service") == "skipped"


def test_a_variable_that_is_no_proxy(doctor: Doctor) -> None:
    configured(doctor, None)
    assert doctor.finding("proxy", "proxy-failed", env={"HTTPS_PROXY": "ftp://proxy:1"})["level"] == "failed"


def test_a_certificate_of_an_unknown_ca(doctor: Doctor, ca: Authority, secure: Callable[..., Emulator]) -> None:
    found = configured(doctor, secure(ca).url).finding("tls", "tls-failed")
    assert "it is from an unknown CA" in found["message"]
    assert "signed by: test CA" in found["message"]
    assert "an inspecting proxy" in found["hint"]


def test_a_certificate_for_another_name(doctor: Doctor, ca: Authority, secure: Callable[..., Emulator]) -> None:
    configured(doctor, secure(ca, "127.0.0.2").url, f'ca_bundle = "{ca.file}"')
    assert "it is for another address" in doctor.finding("tls", "tls-failed")["message"]


def test_a_certificate_out_of_time(doctor: Doctor, tmp_path: Path, secure: Callable[..., Emulator]) -> None:
    past = Authority(tmp_path / "past", -400 * DAY)
    configured(doctor, secure(past).url, f'ca_bundle = "{past.file}"')
    assert "clock" in doctor.finding("tls", "tls-failed")["hint"]


def test_a_ca_bundle_that_is_missing(doctor: Doctor, emulator: Emulator) -> None:
    configured(doctor, emulator.url, 'ca_bundle = "/nonexistent"')
    assert doctor.finding("tls", "ca-bundle-unreadable")["exit_code"] == 74


@pytest.fixture
def inspecting(ca: Authority, secure: Callable[..., Emulator]) -> Iterator[str]:
    """A proxy that shows a certificate of its own for AWS."""
    tunnel = Tunnel(secure(ca, AWS).port)
    yield f'proxy_url = "http://{tunnel.address}"'
    tunnel.stop()


def test_an_inspecting_proxy_that_is_not_trusted(doctor: Doctor, inspecting: str) -> None:
    found = configured(doctor, None, inspecting).finding("tls", "tls-failed")
    assert "signed by: test CA" in found["message"]
    assert doctor.level("proxy") == "ok"


def test_an_inspecting_proxy_that_is_trusted(doctor: Doctor, inspecting: str, ca: Authority) -> None:
    found = configured(doctor, None, f'{inspecting}\nca_bundle = "{ca.file}"').finding("tls", "tls-inspected")
    assert found["level"] == "warning"
    assert "signed by: test CA" in found["message"]
    assert doctor.level("service") == "ok"


def test_a_captive_portal_in_the_place_of_aws(doctor: Doctor, emulator: Emulator) -> None:
    emulator.fail("*", body="<html>Please log in", times=None, headers={"x-amzn-RequestId": None})
    assert doctor.finding("service", "unusable-answer")["exit_code"] == 69


@pytest.mark.parametrize(
    "answer",
    [
        {"body": '{"ok": true}', "content_type": "application/json"},
        {"body": '{"message": "no"}', "content_type": "application/json", "status": 403},
        {"error": "AccessDeniedException"},
    ],
)
def test_a_web_service_that_is_not_aws(doctor: Doctor, emulator: Emulator, answer: Any) -> None:
    emulator.fail("*", **answer, headers={"x-amzn-RequestId": None})
    assert "service.endpoint_url" in doctor.finding("service", "unusable-answer")["hint"]


def test_a_service_that_fails(doctor: Doctor, emulator: Emulator) -> None:
    emulator.fail("*", error="InternalServerError")
    assert doctor.finding("service", "service-failed")["level"] == "failed"


def test_a_service_that_hangs(doctor: Doctor, emulator: Emulator) -> None:
    emulator.fail("*", hang=True)
    assert doctor.finding("service", "timeout")["level"] == "failed"


@pytest.mark.parametrize(("off", "code"), [(timedelta(hours=3), "clock-off"), (timedelta(minutes=-2), "clock-drifts")])
def test_a_clock_that_is_wrong(doctor: Doctor, emulator: Emulator, off: timedelta, code: str) -> None:
    date = format_datetime(datetime.now(UTC) + off, usegmt=True)
    emulator.fail("*", headers={"Date": date})
    found = doctor.finding("clock", code)
    assert ("behind" if off > timedelta(0) else "ahead") in found["message"]
    assert "chrony" in found["hint"]


# Token and roles


@pytest.mark.parametrize(
    ("error", "exit_code", "words"),
    [
        ("AccessDeniedException", 77, "trust policy"),
        ("MachineFingerprintDoesNotMatch", 77, "hardware"),
        ("InvalidInstanceId", 77, "deregistered"),
        ("ThrottlingException", 69, "try again"),
    ],
)
def test_a_token_that_is_refused(doctor: Doctor, emulator: Emulator, error: str, exit_code: int, words: str) -> None:
    emulator.fail(TOKEN, error="MissingAuthenticationTokenException")  # which is the answer without a signature
    emulator.fail(TOKEN, error=error, times=None)
    (found,) = [one for one in doctor.findings("--token") if one["name"] == "token"]
    assert (found["level"], found["exit_code"]) == ("failed", exit_code)
    assert words in found["hint"]


def test_a_role_that_is_refused(doctor: Doctor, emulator: Emulator) -> None:
    doctor.server.configure(ROLE, service=sts(emulator))
    emulator.fail(ASSUME, error="AccessDenied")
    found = doctor.finding("role", "role-refused", "--token")
    assert found["subject"] == "web"
    assert "sts:AssumeRole" in found["hint"]


def test_a_session_that_is_long(doctor: Doctor) -> None:
    now = datetime.now(UTC)
    issue = IssueRecord(doctor.server.node_id, "ASIA", Lifetime(now, now + timedelta(hours=12), timedelta(0)), "boot")
    doctor.save(replace(doctor.server.vault(), issues={"": issue}))
    assert "lives 12h" in doctor.finding("session", "session-long")["message"]


# Outputs


def test_a_directory_that_cannot_be_made(doctor: Doctor) -> None:
    (doctor.server.directory / "aws").write_text("a file")
    assert doctor.finding("output", "no-such-directory")["subject"] == f"{doctor.server.output} [default]"


def test_a_profile_with_long_lived_keys(doctor: Doctor) -> None:
    doctor.server.output.parent.mkdir()
    doctor.server.output.write_text("[default]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = secret\n")
    assert doctor.finding("output", "long-lived-keys")["exit_code"] == 74
    assert "AKIAEXAMPLE" not in doctor.says().out


def test_a_profile_with_a_setting_that_outranks_the_keys(doctor: Doctor) -> None:
    doctor.server.output.parent.mkdir()
    doctor.server.output.write_text("[default]\ncredential_process = /bin/false\n")
    assert "credential_process" in doctor.finding("output", "keys-outranked")["message"]


@pytest.mark.usefixtures("running")
def test_a_file_with_another_name(doctor: Doctor) -> None:
    os.link(doctor.server.output, doctor.server.directory / "second")
    assert doctor.finding("output", "hard-linked")["level"] == "warning"


@pytest.mark.usefixtures("running")
def test_credentials_of_another_program(doctor: Doctor) -> None:
    text = doctor.server.output.read_text().replace(published(doctor.server), "ASIAANOTHERPROGRAM00")
    doctor.server.output.write_text(text)
    assert doctor.finding("credentials", "held-by-another")["level"] == "failed"


@pytest.mark.usefixtures("running")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root looks as other users")
def test_a_group_that_the_mode_shuts_out(doctor: Doctor) -> None:
    doctor.server.configure(output="group = 12345")
    found = doctor.finding("reader", "group-cannot-read")
    assert 'mode = "0640"' in found["hint"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try it as another user")
def test_an_owner_who_cannot_reach_the_file(doctor: Doctor) -> None:
    doctor.server.configure(output="owner = 12345\ngroup = 12345\nmode = '0640'")
    doctor.server.output.parent.mkdir(mode=0o700)
    doctor.server.output.touch(0o640)
    os.chown(doctor.server.output, 12345, 12345)
    shut_out = [one for one in doctor.findings() if one["code"] == "reader-shut-out"]
    assert len(shut_out) == 2
    assert all("namei -l" in one["hint"] for one in shut_out)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try it as another user")
def test_a_file_for_everybody_that_nobody_can_reach(doctor: Doctor) -> None:
    doctor.server.output.parent.mkdir(mode=0o700)
    doctor.server.output.touch(0o644)  # a mode that only the file has is no wish
    assert doctor.level("reader") == "ok"
    doctor.server.configure(output='mode = "0644"')
    assert "every user cannot read" in doctor.finding("reader", "reader-shut-out")["message"]


# What programs find first


def test_keys_in_the_environment(doctor: Doctor) -> None:
    found = doctor.finding("environment", "environment-outranks", env={"AWS_ACCESS_KEY_ID": "AKIASECRET"})
    assert "AWS_ACCESS_KEY_ID in this shell" in found["message"]
    assert "AKIASECRET" not in str(found)


def test_another_profile_in_the_environment(doctor: Doctor) -> None:
    assert "AWS_PROFILE" in doctor.finding("environment", "environment-outranks", env={"AWS_PROFILE": "x"})["message"]
    ours = {"AWS_PROFILE": "default", "AWS_SHARED_CREDENTIALS_FILE": str(doctor.server.output)}
    assert [one["level"] for one in doctor.findings(env=ours) if one["name"] == "environment"] == ["ok"]


def test_another_file_in_the_environment(doctor: Doctor) -> None:
    env = {"AWS_SHARED_CREDENTIALS_FILE": "/srv/old"}
    assert "AWS_SHARED_CREDENTIALS_FILE" in doctor.finding("environment", "environment-outranks", env=env)["message"]


def test_a_config_of_the_owner_that_outranks_the_file(doctor: Doctor) -> None:
    home = doctor.server.directory / ".aws"
    home.mkdir()
    (home / "config").write_text("[default]\nsso_session = old\n")
    found = doctor.finding("profile", "profile-outranks")
    assert f"sso_session in {home}/config, profile [default]" in found["message"]


def test_a_config_beside_the_file_is_the_outputs_own_warning(doctor: Doctor) -> None:
    home = doctor.server.directory / ".aws"
    home.mkdir()
    (home / "config").write_text("[default]\nsso_session = old\n")
    doctor.server.configure(f'[[credentials_file]]\npath = "{home}/credentials"\n')
    doctor.server.run("attempt")
    assert "sso_session" in doctor.finding("output", "keys-outranked")["message"]
    *_, found = (one for one in doctor.findings() if one["name"] == "profile")
    assert found["message"] == f"nothing else in {home} outranks it"


def test_keys_in_the_owners_home_that_come_before_an_endpoint(doctor: Doctor) -> None:
    doctor.server.configure('[[endpoint]]\nname = "web"\n')
    home = doctor.server.directory / ".aws"
    home.mkdir()
    (home / "credentials").write_text("[default]\naws_access_key_id = AKIAOLD\naws_secret_access_key = old\n")
    found = doctor.finding("profile", "profile-outranks")
    assert found["subject"] == "endpoint web"
    assert "AKIAOLD" not in doctor.says().out
