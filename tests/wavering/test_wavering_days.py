"""Days of hibernation, in the daemon's virtual time: hardware that is gone and comes back, and a clone beside it."""

from contextlib import ExitStack
from datetime import timedelta

from tests.attempt.conftest import UPDATE_KEY, Machine
from tests.wavering.conftest import Site, fingerprint, replace_everything

from rolekeeper.model import Outcome

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def test_everything_changed_and_restored_after_days_recovers_at_the_next_probe(site: Site, machine: Machine) -> None:
    mine = fingerprint(machine)
    world, box = site.world, machine.hardware
    changed, restored = 2 * HOUR, 2 * DAY
    away = ExitStack()

    def change() -> None:
        away.enter_context(box.restored())
        replace_everything(box)

    world.at(changed, change)
    world.at(changed + DAY, lambda: site.emulator.request_rotation(machine.node_id))
    world.at(restored, away.close)
    site.lives(machine, restored + 2 * HOUR)
    sent = site.sent()
    trials = [one for one in sent if one != mine]
    first = sent.index(trials[0])
    assert len(set(trials)) == 1
    assert len(trials) > 40
    assert set(sent[:first]) == {mine}
    assert set(sent[first + len(trials) :]) == {mine}
    assert [one for one in world.logged() if one.startswith("hibernation_")] == [
        "hibernation_entered",
        "hibernation_left",
    ]
    left = next(told.at for told in world.entries if told.what[0] == "hibernation_left")
    assert restored <= left < restored + 1.1 * HOUR + timedelta(minutes=1)
    assert len(machine.requests(UPDATE_KEY)) == 1
    assert machine.knows_one_key()
    token = machine.published()
    assert token is not None
    assert token.expires_at > world.now().wall


def test_a_clone_of_the_whole_disk_hibernates_for_days_and_the_original_does_not_notice(
    site: Site, machine: Machine
) -> None:
    mine = fingerprint(machine)
    world = site.world
    machine.attempt()
    clone = site.clone(machine, site.box("02"))
    copied = clone.output().read_text()
    outcomes: list[Outcome] = []
    for hour in range(1, 48, 4):
        world.at(hour * HOUR, lambda: outcomes.append(machine.attempt().outcome))
    world.at(44 * HOUR, lambda: site.emulator.request_rotation(machine.node_id))
    site.lives(clone, 2 * DAY)
    assert {world.document(hour * HOUR)["state"] for hour in range(1, 45)} == {"hibernating"}
    assert world.document()["last_outcome"]["code"] == "InvalidSignatureException"  # of a key that is no more
    probes = [one for one in site.sent() if one != mine]
    assert len(set(probes)) == 1
    assert len(probes) > 40
    assert set(outcomes) == {Outcome.ISSUED}
    assert len(site.sent()) - len(probes) == len(outcomes) + 1
    assert (clone.output().read_text(), fingerprint(clone)) == (copied, mine)
    assert machine.attempt().outcome is Outcome.ISSUED
    assert machine.knows_one_key()
