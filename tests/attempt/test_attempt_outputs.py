"""Outputs that cannot be written: no token is requested in vain, and one that came is not thrown away."""

import os
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.attempt.conftest import Machine, Machinery, output, real_outputs
from tests.reports import current, events, life, written

from rolekeeper.adapters.outputs.dispatch import AllOutputs
from rolekeeper.attempt.run import run
from rolekeeper.model import Hardware, HeldToken, IssueRecord, Outcome, RoleToken
from rolekeeper.settings import CredentialsFile, Endpoint, Output
from rolekeeper.values import replace

HOUR = timedelta(hours=1)
BROKEN = "[default\nnot a credentials file\n"


@pytest.fixture
def pair(machine: Machine) -> Machine:
    """A machine that publishes in two places, the second of which somebody broke."""
    machine.change(
        credentials_files=(*machine.settings.credentials_files, output(machine.directory / "second" / "credentials"))
    )
    machine.output(1).parent.mkdir()
    machine.output(1).write_text(BROKEN)
    return machine


def mend(machine: Machine) -> None:
    machine.output(1).unlink()


def held(machine: Machine) -> HeldToken | None:
    return machine.vault().held_token


def test_when_no_output_can_be_written_no_token_is_asked_for(pair: Machine) -> None:
    pair.change(credentials_files=pair.settings.credentials_files[1:])
    report = pair.attempt()
    assert report.outcome is Outcome.UNPUBLISHED
    assert str(pair.output()) in report.message
    assert report.hint
    assert report.expires_at is None
    assert pair.requests() == ()


@pytest.mark.parametrize("place", ["is-a-directory", "under-a-file/credentials"])
def test_a_place_where_no_file_can_be_costs_no_request(machine: Machine, place: str) -> None:
    (machine.directory / "is-a-directory").mkdir()
    (machine.directory / "under-a-file").write_text("")
    machine.change(credentials_files=(output(machine.directory / place),))
    assert machine.attempt().outcome is Outcome.UNPUBLISHED
    assert machine.requests() == ()


def test_an_unknown_owner_costs_no_request(machine: Machine) -> None:
    machine.change(credentials_files=(output(machine.output(), owner="nobody-of-that-name"),))
    report = machine.attempt()
    assert (report.outcome, report.code) == (Outcome.UNPUBLISHED, "unknown-user")
    assert machine.requests() == ()


def test_long_lived_keys_are_not_overwritten_and_cost_no_request(machine: Machine) -> None:
    theirs = "[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = secret\n"
    machine.output().parent.mkdir()
    machine.output().write_text(theirs)
    assert machine.attempt().outcome is Outcome.UNPUBLISHED
    assert machine.output().read_text() == theirs
    assert machine.requests() == ()


def test_one_broken_output_does_not_keep_the_other_from_its_credentials(pair: Machine) -> None:
    report = pair.attempt()
    assert report.outcome is Outcome.UNPUBLISHED
    assert str(pair.output(1)) in report.message
    assert current(report) == pair.named(0)
    assert life(report) is not None
    assert pair.published(0) is not None
    assert pair.output(1).read_text() == BROKEN


def test_a_token_that_is_not_published_everywhere_is_held_where_only_root_reads(pair: Machine) -> None:
    pair.attempt()
    vault = pair.directory / "vault"
    assert held(pair) is not None
    assert [stat.S_IMODE(one.stat().st_mode) for one in (vault, vault / "vault.json")] == [0o700, 0o600]


def test_the_held_token_is_published_once_the_output_is_mended_without_another_request(pair: Machine) -> None:
    pair.attempt()
    mend(pair)
    report = pair.attempt()
    assert report.outcome is Outcome.ISSUED
    assert len(pair.requests()) == 1
    assert pair.published(1) == pair.published(0)
    assert (current(report), written(report)) == (pair.named(0, 1), pair.named(1))
    assert held(pair) is None


def test_while_the_output_stays_broken_no_other_token_is_asked_for(pair: Machine) -> None:
    for _ in range(4):
        assert pair.attempt().outcome is Outcome.UNPUBLISHED
        pair.clock.move(HOUR / 10)
    assert len(pair.requests()) == 1


def test_a_retry_says_nothing_of_what_was_published_before(pair: Machine) -> None:
    pair.attempt()
    before = pair.output(0).stat().st_ino
    report = pair.attempt()
    assert report.entries == ()
    assert (current(report), written(report)) == (pair.named(0), ())
    assert pair.output(0).stat().st_ino == before


def test_a_held_token_of_another_boot_is_asked_for_anew(pair: Machine) -> None:
    pair.attempt()
    pair.clock.reboot()
    mend(pair)
    assert pair.attempt().outcome is Outcome.ISSUED
    assert len(pair.requests()) == 2


def test_a_held_token_of_another_registration_is_never_published(pair: Machine) -> None:
    pair.attempt()
    pair.register(replace_old=True)
    mend(pair)
    assert pair.attempt().outcome is Outcome.ISSUED
    token = pair.published(1)
    assert token is not None
    assert token.node_id == pair.node_id


def other_keys(text: str) -> str:
    return text.replace("= ASIA", "= ASIB")


def no_expiry(text: str) -> str:
    lines = other_keys(text).splitlines(keepends=True)
    return "".join(line for line in lines if "expires" not in line)


@pytest.mark.parametrize("writes", [other_keys, no_expiry])
def test_another_program_that_writes_to_the_output_is_told(machine: Machine, writes: Callable[[str], str]) -> None:
    machine.attempt()
    machine.output().write_text(writes(machine.output().read_text()))
    machine.emulator.fail("RequestManagedInstanceRoleToken", error="InternalServerError")
    (told,) = machine.attempt().entries
    assert (told.event, told.level) == ("overwritten_by_another", "warning")
    assert told.fields["path"] == str(machine.output())
    assert told.fields["profile"] in told.message
    report = machine.attempt()
    assert (report.outcome, report.entries[0]) == (Outcome.ISSUED, told)
    assert "overwritten_by_another" not in events(machine.attempt())


@pytest.mark.parametrize("text", ["", "[default]\n", "[default]\naws_access_key_id =\n", None])
def test_credentials_that_are_gone_are_not_taken_for_another_programs(machine: Machine, text: str | None) -> None:
    machine.attempt()
    machine.output().unlink()
    if text is not None:
        machine.output().write_text(text)
    assert events(machine.attempt()) == ["token_issued", "credentials_published"]


class Meanwhile(AllOutputs):
    """Something happens between the look and the publication."""

    def __init__(self, machine: Machine, happens: Callable[[Path], None]) -> None:
        vars(self).update(vars(real_outputs(machine.settings, machine.clock)))
        self.happens = happens

    def publish(self, output: Output, token: RoleToken, issue: IssueRecord, longest: timedelta) -> None:
        assert isinstance(output, CredentialsFile)
        self.happens(Path(output.path))
        super().publish(output, token, issue, longest)


def broken(path: Path) -> None:
    path.write_text(BROKEN)


def blocked(path: Path) -> None:
    """What the file holds stays as it is."""
    lock = path.with_name(".credentials.rolekeeper-lock")
    lock.unlink()
    lock.mkdir()


def test_a_token_that_could_be_written_nowhere_after_all_is_held(machine: Machine) -> None:
    world = replace(machine.world(), outputs=Meanwhile(machine, broken))
    report = run(world, machine.settings, reuse=False)
    assert (report.outcome, current(report), life(report)) == (Outcome.UNPUBLISHED, (), None)
    assert report.expires_at == machine.clock.wall + HOUR
    machine.output().unlink()
    assert machine.attempt().outcome is Outcome.ISSUED
    assert len(machine.requests()) == 1


def test_while_a_token_is_held_the_published_one_is_what_counts(machine: Machine) -> None:
    first = machine.attempt()
    assert life(first) is not None
    machine.clock.move(HOUR / 2)
    world = replace(machine.world(), outputs=Meanwhile(machine, blocked))
    report = run(world, machine.settings, reuse=False)
    assert (report.outcome, current(report)) == (Outcome.UNPUBLISHED, ())
    assert life(report) == life(first)
    assert held(machine) is not None
    assert machine.published() is not None


class Obstructed(Machinery):
    """Hardware that is looked at while somebody makes the vault unwritable: the lock is held, nothing is saved yet."""

    obstacles: tuple[Path, ...] = ()

    def clear(self) -> None:
        for obstacle in self.obstacles:
            os.chown(obstacle, 0, -1)

    def look(self) -> Hardware:
        for obstacle in self.obstacles:
            os.chown(obstacle, 12345, -1)
        return super().look()


def obstruct(machine: Machine) -> Obstructed:
    in_the_way = Obstructed()
    vault = machine.directory / "vault"
    in_the_way.obstacles = (vault,)
    machine.hardware = in_the_way
    return in_the_way


def test_published_credentials_count_as_issued_though_the_vault_cannot_be_written(machine: Machine) -> None:
    """Otherwise every retry would ask for another token, until the disk is mended."""
    machine.attempt()
    machine.emulator.request_rotation(machine.node_id)
    machine.clock.move(HOUR / 2)
    in_the_way = obstruct(machine)
    report = machine.attempt()
    assert (report.outcome, report.code) == (Outcome.ISSUED, "vault-foreign-owner")
    assert report.message.startswith("Cannot use")
    assert report.hint
    assert life(report) is not None
    assert machine.published() is not None
    assert events(report)[-1] == "vault_unwritten"
    assert machine.requests("UpdateManagedInstancePublicKey") == ()  # a key that cannot be stored is told to nobody
    in_the_way.clear()
    machine.hardware = Machinery()
    after = machine.attempt()
    assert (after.code, machine.attempt().code) == ("", "")
    assert "overwritten_by_another" not in events(after)  # it was us, unknown to the vault
    assert machine.knows_one_key()


def test_a_held_token_counts_as_issued_once_published_though_the_vault_cannot_be_written(machine: Machine) -> None:
    machine.emulator.request_rotation(machine.node_id)
    world = replace(machine.world(), outputs=Meanwhile(machine, broken))
    assert run(world, machine.settings, reuse=False).outcome is Outcome.UNPUBLISHED
    machine.output().unlink()
    in_the_way = obstruct(machine)
    report = machine.attempt()
    assert (report.outcome, report.code) == (Outcome.ISSUED, "vault-foreign-owner")
    assert events(report) == ["credentials_published", "vault_unwritten"]
    assert len(machine.requests()) == 1
    in_the_way.clear()
    assert held(machine) is not None
    machine.clock.move(HOUR / 2)  # the refresh point, where what is published already is nothing new
    report = machine.attempt()
    assert (report.outcome, written(report)) == (Outcome.ISSUED, machine.named(0))
    assert len(machine.requests()) == 2
    in_the_way.clear()
    machine.hardware = Machinery()
    assert machine.attempt().code == ""
    assert held(machine) is None


def test_a_held_token_that_is_published_in_part_is_not_tried_at_once_while_the_vault_cannot_be_written(
    pair: Machine,
) -> None:
    world = replace(pair.world(), outputs=Meanwhile(pair, broken))
    assert run(world, pair.settings, reuse=False).outcome is Outcome.UNPUBLISHED
    pair.output(0).unlink()
    in_the_way = obstruct(pair)
    assert pair.attempt().outcome is Outcome.ISSUED
    in_the_way.clear()
    pair.clock.move(HOUR / 4)
    assert pair.attempt().outcome is Outcome.UNPUBLISHED  # which backs off: there is nothing new
    assert len(pair.requests()) == 1


def test_a_token_that_can_be_neither_held_nor_published_everywhere_is_no_reason_for_another(pair: Machine) -> None:
    obstruct(pair)
    report = pair.attempt()
    assert (report.outcome, report.code) == (Outcome.ISSUED, "unparsable-file")
    assert str(pair.output(1)) in report.message
    assert current(report) == pair.named(0)


def test_an_attempt_by_hand_leaves_the_endpoints_of_another_configuration_and_the_daemons_removes_them(
    machine: Machine,
) -> None:
    machine.change(endpoints=(Endpoint("web"),))
    machine.attempt()
    token = Path(machine.settings.daemon.runtime_directory, "token", "web")
    kept = token.read_bytes()
    machine.change(endpoints=())
    machine.attempt()
    assert token.read_bytes() == kept
    run(machine.world(), machine.settings, reuse=False, owns_outputs=True)
    assert not token.exists()
