"""The power fails at every step of whatever changes a file, and nothing is lost; disk.py says what may survive."""

import os
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

import pytest
from botocore.configloader import raw_config_parse
from tests.conftest import LONGEST, ONE_KEY, WHOLE, Server
from tests.packages.conftest import need
from tests.powerloss.aftermath import OUTPUT, Case, Finder, Witness, cases
from tests.powerloss.disk import Tree
from tests.powerloss.scenes import BLOCKED, QUICK, SCENES, Keys, Recording, Scene, record

from rolekeeper import compose
from rolekeeper.adapters.ssm.nodekey import public_key
from rolekeeper.attempt import register
from rolekeeper.attempt.run import run
from rolekeeper.emulator import Emulator
from rolekeeper.model import NodeKey, Outcome, VaultContents
from rolekeeper.ports import World
from rolekeeper.settings import Settings
from rolekeeper.values import replace

ATTEMPTS = 1_000_000 if WHOLE else 4  # real ones, from what survives of a scene


@dataclass(frozen=True)
class Played:
    """A scene that was recorded."""

    scene: Scene
    recording: Recording
    before: str  # what was in the output
    finder: Finder


@pytest.fixture(scope="module", autouse=True)
def strace() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can trace a process that keeps its memory to itself")
    need("strace", "strace")


@pytest.fixture(scope="module", params=SCENES if WHOLE else QUICK)
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    scene = SCENES[request.param]
    directory = tmp_path_factory.mktemp("power") / "server"
    directory.mkdir()
    # In memory: thousands of states are laid out, and these need not survive anything.
    with (
        Emulator() as emulator,
        TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as scratch,
    ):
        recording = record(scene, Server(directory, emulator))
        before = {path: data for path, _, data in recording.disk.now()}.get(OUTPUT) or b""
        yield Played(scene, recording, before.decode(), Finder(Path(scratch)))


def test_what_survives_is_what_was_there_and_nothing_that_was_told_is_lost(played: Played) -> None:
    recording, witness, seen = played.recording, Witness(), set()
    for case in cases(recording, deepcopy(recording.disk), played.finder, witness):
        found = played.finder.look(case.tree)
        seen.add(case.tree)
        assert not (why := witness.objection(found)), explain(recording, case, why)
        assert found.output is None or found.output.decode().startswith(played.before)
        assert found.contents is not None
        assert usable(found.contents, case.services), explain(recording, case, "the service knows no key of these")
    assert witness.stages() == played.scene.stages
    print(f"{len(seen)} states after {len(recording.done)} operations")


def test_a_directory_that_survives_has_its_attributes(played: Played) -> None:
    """Nobody gives them to it later: what exists stays as it is."""
    recording, disk = played.recording, deepcopy(played.recording.disk)
    seen = []
    for operation in recording.done:
        disk.apply(operation)
        seen.append({_mode(tree, str(PurePath(OUTPUT).parent)) for tree in disk.survivors()})
    assert all(modes <= {None} | seen[-1] for modes in seen)


def _mode(tree: Tree, wanted: str) -> int | None:
    return next((mode for path, mode, _ in tree if path == wanted), None)


def usable(contents: VaultContents, services: tuple[Keys, ...]) -> bool:
    """Whether the vault holds a key and the fingerprint that the service knows for its node, whatever it knows."""
    node = contents.registration
    if node is None:
        return True
    ours = {public_half(key) for key in (node.key, contents.pending_key, contents.superseded_key) if key}
    fingerprint = contents.fingerprint and contents.fingerprint.fingerprint
    return all(keys[node.node_id][0] in ours and keys[node.node_id][1] == fingerprint for keys in services)


@cache
def public_half(key: NodeKey) -> str:
    return public_key(key)


def test_from_whatever_survives_the_next_attempt_gets_a_token(played: Played) -> None:
    recording, finder = played.recording, played.finder
    distinct: dict[object, Case] = {}
    for case in cases(recording, deepcopy(recording.disk), finder, Witness()):
        found, names = finder.look(case.tree), tuple(path for path, _, _ in case.tree)
        for service in case.services:
            one = replace(case, services=(service,))
            distinct.setdefault((str(found.stage), found.output, names, str(service)), one)
    chosen = list(distinct.values())
    tried = chosen[:: max(1, len(chosen) // ATTEMPTS)]
    for case in tried:
        gets_a_token(played, case)
    print(f"{len(tried)} attempts of {len(chosen)}")


def gets_a_token(played: Played, case: Case) -> None:
    server, place = played.recording.server, played.finder.lay_out(case.tree)
    emulator = server.emulator
    for node_id in list(emulator.nodes):
        emulator.deregister(node_id)
    for node_id, (key, fingerprint) in case.services[0].items():
        emulator.add_node(node_id, key, fingerprint)
    config = place / "config.toml"
    config.write_text(config.read_text().replace(str(server.directory), str(place)))
    if (place / BLOCKED).is_file():
        (place / BLOCKED).unlink()
    settings = compose.settings(str(config))
    world = replace(compose.world(settings), keys=ONE_KEY)
    contents = played.finder.look(case.tree).contents
    kept = contents.held_token if contents is not None else None
    if kept is not None and held_by(settings) == {kept.token.access_key_id}:
        kept = None  # published when the power failed: only the vault does not know
    report = run(world, settings, reuse=False)
    if report.outcome is Outcome.UNREGISTERED:
        register_again(server, world)
        report = run(world, settings, reuse=False)
    assert report.outcome is Outcome.ISSUED, explain(played.recording, case, report.message)
    assert held_by(settings) == {kept.token.access_key_id if kept else next(reversed(emulator.tokens))}
    assert (place / OUTPUT).read_text().startswith(played.before)
    left = [path for path in place.rglob("*") if path.name.endswith("-new")]
    assert left == [], explain(played.recording, case, "they are still there")


def held_by(settings: Settings) -> set[str]:
    """The access key ids in the outputs; "" for one that holds none."""
    files = (Path(output.path) for output in settings.credentials_files)
    profiles = (raw_config_parse(str(file)).get("default", {}) if file.is_file() else {} for file in files)
    return {str(profile.get("aws_access_key_id", "")) for profile in profiles}


def register_again(server: Server, world: World) -> None:
    """With the same activation again, as far as it has room, which takes up what was begun."""
    assert server.activation is not None
    given = server.emulator.activations[server.activation.activation_id]
    if given.registrations == given.limit:
        given = server.emulator.create_activation()
    wanted = register.ActivationDetails(given.activation_id, given.code, server.emulator.region)
    with world.vault.lock(timedelta(seconds=LONGEST)):
        register.register(world, world.vault.load(), wanted, replace_old=False)


def explain(recording: Recording, case: Case, why: str) -> str:
    done = [f"{one.kind} {one.path} {one.to}" for one in recording.done[max(0, case.operations - 8) : case.operations]]
    left = [f"{path} {mode:o} {data if data is None else data[:20]!r}" for path, mode, data in case.tree]
    return "\n".join([why, "after", *done, "there is", *left])
