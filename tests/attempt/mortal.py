"""A process that may die at every step of a rotation, and that watches what becomes of the node keys.

A step is the moment before and the moment after each save of the vault and each request; a save that is cut off itself
leaves the old contents or the new ones (tests/vault). Vault, service and everything else are the real ones.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import pytest
from tests.attempt.conftest import Machine

from rolekeeper.adapters.ssm.nodekey import public_key
from rolekeeper.adapters.ssm.service import SsmService
from rolekeeper.attempt.rotate import ABOUT_THE_KEY
from rolekeeper.attempt.run import run
from rolekeeper.errors import ServiceRefusedError
from rolekeeper.model import AttemptReport, NodeKey, Outcome, Registration, TokenAnswer, VaultContents
from rolekeeper.ports import NodeService, Vault
from rolekeeper.values import replace

SHORT = timedelta(milliseconds=200)  # to wait for the answer to a key change that does not come
MOST_ATTEMPTS = 8
T = TypeVar("T")


class KilledError(BaseException):
    """What the product cannot catch: the end of its process."""


def keys(contents: VaultContents) -> list[NodeKey]:
    """The node keys in the vault, the current one first."""
    assert contents.registration is not None
    found = (contents.registration.key, contents.pending_key, contents.superseded_key)
    return [key for key in found if key is not None]


@dataclass
class Mortal:
    """The attempts of one machine.

    `events` are the keys that the service was told of and those that it accepted; `answered` is the step at which the
    last attempt had the answer to its key change. `open_changes` are those without a final answer, the public key that
    signed one by the one that it brings: the service may carry them out yet. It may also carry out those that it
    `refused`, until it has accepted a key at a later attempt.
    """

    machine: Machine
    impatient: bool = False
    events: list[tuple[str, str]] = field(default_factory=list)
    steps: int = 0
    answered: int = 0
    open_changes: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    final: set[str] = field(default_factory=set)  # refused before this attempt
    last: int | None = None

    def attempt(self, *, dies_at: int | None = None) -> AttemptReport | None:
        """Make one attempt; None when it died at that step."""
        self.steps, self.last, self.final = 0, dies_at, set(self.refused)
        world = self.machine.world()
        service = self.machine.settings.service
        short = replace(service, read_timeout=SHORT if self.impatient else service.read_timeout)
        changer = SsmService(short, self.machine.clock, "1.2.3")
        mortal = replace(
            world, vault=MortalVault(self, world.vault), service=MortalService(self, world.service, changer)
        )
        try:
            return run(mortal, self.machine.settings, reuse=False)
        except KilledError:
            return None

    def known(self) -> str:
        """The public key by which the service knows the node."""
        return self.machine.emulator.nodes[self.machine.node_id].public_key

    def know_by(self, key: str) -> None:
        """From now on the service knows the node by that public key."""
        node = self.machine.emulator.nodes[self.machine.node_id]
        self.machine.emulator.add_node(node.node_id, key, node.fingerprint, node.role)

    def carry_out_late(self) -> None:
        """The service carries out what it has not answered for good."""
        for new, signer in self.open_changes.items():
            if signer == self.known():
                self.know_by(new)

    def until_settled(self) -> int:
        """Attempt until one key is left on both sides and no rotation is wanted; each attempt has to bring a token."""
        machine = self.machine
        for number in range(1, MOST_ATTEMPTS):
            report = self.attempt()
            assert report is not None
            assert report.outcome is Outcome.ISSUED
            token = machine.published()
            assert token is not None
            assert token.issued_at == machine.clock.wall
            if machine.knows_one_key() and not machine.emulator.nodes[machine.node_id].rotation_wanted:
                return number
            machine.clock.move(timedelta(seconds=5))
        pytest.fail("the rotation does not come to an end")

    def step(self, work: Callable[[], T]) -> T:
        self._live()
        try:
            return work()
        finally:
            self._live()

    def _live(self) -> None:
        self.steps += 1
        if self.steps == self.last:
            raise KilledError

    def watch(self, before: VaultContents, after: VaultContents) -> None:
        """A node key is dropped only after another one, which stays, was accepted, and not told of any more then."""
        left = {key.private_key for key in keys(after)}
        for dropped in {key.private_key for key in keys(before)} - left:
            accepted = [key for what, key in self.events if what == "accepted"][-1]
            told = [number for number, event in enumerate(self.events) if event == ("told", dropped)]
            assert accepted in left
            assert ("accepted", accepted) in self.events[max(told, default=-1) + 1 :]


@dataclass
class MortalVault:
    """The vault, as ports.Vault."""

    process: Mortal
    vault: Vault

    def lock(self, wait: timedelta) -> AbstractContextManager[None]:
        return self.vault.lock(wait)

    def load(self) -> VaultContents:
        return self.vault.load()

    def save(self, contents: VaultContents) -> None:
        self.process.watch(self.vault.load(), contents)
        self.process.step(lambda: self.vault.save(contents))


@dataclass
class MortalService:
    """The service, as ports.NodeService."""

    process: Mortal
    service: NodeService
    changer: NodeService

    def register(self, *arguments: object) -> str:
        raise AssertionError(arguments)

    def request_role_token(self, registration: Registration, fingerprint: str) -> TokenAnswer:
        answer = self.process.step(lambda: self.service.request_role_token(registration, fingerprint))
        self.process.events.append(("accepted", registration.key.private_key))
        for new in self.process.final:
            self.process.open_changes.pop(new, None)
        return answer

    def update_public_key(self, registration: Registration, new_key: NodeKey) -> None:
        self.process.events.append(("told", new_key.private_key))
        self.process.answered = self.process.steps + 2
        new, unanswered = public_key(new_key), self.process.open_changes
        unanswered[new] = public_key(registration.key)
        self.process.refused.discard(new)
        self.process.final.discard(new)

        def ask() -> None:
            try:
                self.changer.update_public_key(registration, new_key)
            except ServiceRefusedError as refused:
                if refused.code in ABOUT_THE_KEY:
                    self.process.refused.add(new)
                raise
            del unanswered[new]

        self.process.step(ask)
