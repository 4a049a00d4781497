"""Power failures and reboots, and the first boot of a machine that registers itself."""

from collections.abc import Callable

import pytest
from tests.systemd.conftest import UNIT, Machine

REGISTER = "RegisterManagedInstance"
STORE = "/etc/credstore/activation-code"
ENCRYPTED_STORE = "/etc/credstore.encrypted/activation-code"
FROM_ENCRYPTED_STORE = "[Service]\nLoadCredentialEncrypted=activation-code\n"


@pytest.fixture
def image(new_machine: Callable[..., Machine]) -> Machine:
    """A machine whose disk survives, with the package installed and told which activation to use; it is off."""
    machine = new_machine(state=True)
    machine.install()
    machine.systemctl("stop", UNIT)
    machine.activation = machine.service.create_activation(limit=5)
    machine.configure(
        f'[node]\nregion = "{machine.service.region}"\nactivation_id = "{machine.activation.activation_id}"\n'
    )
    return machine


def registrations(machine: Machine) -> int:
    return len([request for request in machine.service.requests if request.operation == REGISTER])


def boot(machine: Machine) -> None:
    machine.stop()
    machine.start()


def test_a_machine_registers_itself_at_its_first_boot_and_never_again_until_it_is_cleared(image: Machine) -> None:
    assert image.activation is not None
    image.write(STORE, image.activation.code, mode=0o600)
    boot(image)
    image.until_published()
    entry = image.until_event("registered")
    assert entry["ROLEKEEPER_NODE_ID"] in entry["MESSAGE"]
    first = image.access_key_id()
    for end in (image.stop, image.crash):
        end()
        image.start()
        image.until_status("Waiting")
    assert image.until_published() != first  # after a boot the age of what is published is not certain
    assert registrations(image) == len(image.service.nodes) == 1
    image.systemctl("stop", UNIT)
    image.rolekeeper("clear", "--yes")  # and so it becomes the image of other machines
    boot(image)
    image.until_event("registered")
    assert registrations(image) == len(image.service.nodes) == 2


def test_an_encrypted_code_takes_one_line_in_a_drop_in(image: Machine) -> None:
    assert image.activation is not None
    image.drop_in(FROM_ENCRYPTED_STORE)
    image.shell("mkdir -p -m 700 /etc/credstore.encrypted")
    encrypt = ("systemd-creds", "encrypt", "--with-key=host", "--name=activation-code", "-", ENCRYPTED_STORE)
    image.run(*encrypt, stdin=image.activation.code)
    boot(image)
    image.until_published()
    assert registrations(image) == 1
    assert image.activation.code not in image.read(ENCRYPTED_STORE)


def test_without_a_code_the_machine_boots_and_waits(image: Machine) -> None:
    boot(image)
    image.until_status("Unregistered")
    assert registrations(image) == 0
    assert image.property(UNIT, "ActiveState") == "active"


def test_power_failures_in_the_middle_of_refreshes_lose_neither_registration_nor_credentials(image: Machine) -> None:
    image.configure()
    image.systemctl("start", UNIT)
    image.register()
    known = {image.until_published()}
    for _ in range(3):
        image.run("rolekeeper", "refresh", "--timeout", "1ms", expect=None)  # does not wait for the outcome
        image.crash()
        image.start()
        assert image.access_key_id() in known | set(image.issued())  # and whole
        image.until_status("Waiting")
        known.add(image.until_published())
    assert registrations(image) == len(image.service.nodes) == 1
