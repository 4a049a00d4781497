"""Hardware that does not distinguish machines well, so that a copy of the disk may pass for this one, and the remedy.

Two empty components are equal (docs/protocol.md, section 1.3). So what is empty in the vault is no protection against a
copy that has nothing there either, and `machine-id` decides alone once it differs.
"""

from rolekeeper.core.similarity import MACHINE_ID
from rolekeeper.model import SMBIOS_COMPONENTS, HardwareHash, OutputProblem


def of_machine_id(saved: HardwareHash, current: HardwareHash) -> OutputProblem | None:
    """What is wrong when `machine-id` is empty in the vault or now."""
    if not saved.get(MACHINE_ID, "").strip():
        return OutputProblem(
            "machine-id-empty",
            "machine-id was empty or absent at the registration: a copy of this disk without one looks similar, and "
            "this machine stops being similar once it gets one",
            "run `systemd-machine-id-setup`, then `rolekeeper fingerprint accept`",
        )
    if not current.get(MACHINE_ID, "").strip():
        return OutputProblem(
            "machine-id-lost",
            "machine-id is empty or absent now, and it decides alone",
            "restore the content of /etc/machine-id",
        )
    return None


def of_smbios(saved: HardwareHash, current: HardwareHash) -> OutputProblem | None:
    """What is wrong without SMBIOS: a clone that keeps machine-id and host name then matches in 6 of 9 components."""
    if not any(current.get(name) for name in SMBIOS_COMPONENTS):
        return OutputProblem(
            "smbios-absent",
            "the four SMBIOS components are empty: a copy of this disk on other hardware would look similar",
            "install dmidecode, on a machine that has SMBIOS tables",
        )
    if not any(saved.get(name) for name in SMBIOS_COMPONENTS):
        return OutputProblem(
            "smbios-unbound",
            "the four SMBIOS components were empty when the fingerprint was bound to them: a copy of this disk would "
            "look similar where they are empty",
            "`rolekeeper fingerprint accept` binds it to those of now",
        )
    return None
