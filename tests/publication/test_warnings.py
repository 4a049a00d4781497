"""Credentials that are published, and that programs may not use all the same: the report and the log say so."""

import pytest
from tests.conftest import Server
from tests.reports import events

from rolekeeper import compose
from rolekeeper.attempt.run import run
from rolekeeper.model import AttemptReport, Outcome, OutputProblem

OUTRANKING = {
    "role_arn": "role_arn = arn:aws:iam::123456789012:role/x\nsource_profile = base\n",
    "credential_source": "credential_source = Ec2InstanceMetadata\n",
    "web_identity_token_file": "web_identity_token_file = /run/token\n",
    "credential_process": "credential_process = /bin/cat /srv/credentials.json\n",
    "sso_session": "sso_session = work\n",
    "sso_start_url, sso_region": "sso_start_url = https://example.awsapps.com/start\nsso_region = eu-west-1\n",
}


def attempt(server: Server) -> AttemptReport:
    settings = compose.settings(str(server.config))
    return run(compose.world(settings), settings, reuse=False)


def warning(report: AttemptReport) -> OutputProblem | None:
    """The problem of the only output, which has its credentials."""
    assert (report.outcome, report.code) == (Outcome.ISSUED, "")
    (output,) = report.outputs
    assert output.is_current
    return output.problem


@pytest.fixture
def written(node: Server) -> Server:
    """A server whose output holds what somebody wrote there."""
    node.output.parent.mkdir()
    node.output.write_text("[default]\nregion = eu-west-1\n")
    return node


@pytest.mark.parametrize("names", OUTRANKING)
@pytest.mark.parametrize("file", ["credentials", "config"])
def test_settings_that_sdks_prefer_to_the_keys_are_named(written: Server, file: str, names: str) -> None:
    path = written.output.with_name(file)
    path.write_text(f"[default]\nregion = eu-west-1\n{OUTRANKING[names]}")
    report = attempt(written)
    found = warning(report)
    assert found is not None
    assert found.code == "keys-outranked"
    assert f"{written.output}, profile [default]: {names} in {path} outrank them" in found.message
    assert "publish to a profile of its own" in found.hint
    assert [entry.message for entry in report.entries if entry.event == "output_warning"] == [found.message]
    assert OUTRANKING[names] in path.read_text()


def test_a_profile_of_its_own_is_called_profile_in_the_config_file(written: Server) -> None:
    config = written.output.with_name("config")
    config.write_text(f"[default]\n{OUTRANKING['sso_session']}[ci]\n{OUTRANKING['sso_session']}")
    written.configure(output='profile = "ci"')
    assert warning(attempt(written)) is None
    config.write_text(f"[profile ci]\n{OUTRANKING['sso_session']}")
    found = warning(attempt(written))
    assert found is not None
    assert f"sso_session in {config} outrank them" in found.message


def test_default_may_be_called_profile_default_in_the_config_file(written: Server) -> None:
    config = written.output.with_name("config")
    config.write_text(f"[profile default]\n{OUTRANKING['sso_session']}")
    found = warning(attempt(written))
    assert found is not None
    assert f"sso_session in {config} outrank them" in found.message


@pytest.mark.parametrize("config", ["[default]\nregion = x\n", "no config file\n", "[other]\nrole_arn = x\n", None])
def test_anything_else_there_is_no_warning(written: Server, config: str | None) -> None:
    if config is not None:
        written.output.with_name("config").write_text(config)
    with written.output.open("a") as file:
        file.write("source_profile = base\n[other]\n" + "".join(OUTRANKING.values()))
    report = attempt(written)
    assert warning(report) is None
    assert "output_warning" not in events(report)


def test_a_person_who_makes_an_attempt_reads_the_warning(written: Server) -> None:
    with written.output.open("a") as file:
        file.write(OUTRANKING["role_arn"])
    said = written.run("attempt")
    assert said.code == 0
    assert "rolekeeper: Programs may not use the credentials in" in said.err


def test_the_warning_stays_in_the_report_and_is_logged_with_the_first_publication_only(written: Server) -> None:
    with written.output.open("a") as file:
        file.write(OUTRANKING["role_arn"])
    assert events(attempt(written)).count("output_warning") == 1
    again = attempt(written)
    assert warning(again) is not None
    assert "output_warning" not in events(again)
    written.output.write_text(written.output.read_text().replace(OUTRANKING["role_arn"], ""))
    assert warning(attempt(written)) is None


def test_another_name_of_the_file_keeps_the_old_one_and_that_is_said(written: Server) -> None:
    other = written.directory / "backup"
    other.hardlink_to(written.output)
    before = other.read_bytes()
    report = attempt(written)
    found = warning(report)
    assert found is not None
    assert found.code == "hard-linked"
    assert f"{written.output} has 2 names (hard links)" in found.message
    assert "symbolic links" in found.hint
    assert "output_warning" in events(report)
    assert other.read_bytes() == before
    assert warning(attempt(written)) is None  # the file has one name since
