"""What a health report says of this machine."""

from pathlib import Path

import pytest

from rolekeeper.adapters.platform import facts

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n'
SYSTEMS = {
    DEBIAN: ("Debian GNU/Linux", "12"),
    "# a comment\n\nNAME=Fedora\nVERSION_ID=39 # and another\n": ("Fedora", "39"),
    "NAME='Arch Linux'\n": ("Arch Linux", ""),
    'NAME="unfinished\n': ("", ""),
    "": ("", ""),
    f'NAME="{"x" * 300}"\n': ("x" * 255, ""),
}


@pytest.mark.parametrize("text", SYSTEMS, ids=lambda text: text[:20])
def test_the_system_is_named_as_os_release_names_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "os-release").write_text(text)
    found = facts("1.2.3", [tmp_path / "none", tmp_path / "os-release"], lambda _: ())
    assert (found.platform_name, found.platform_version) == SYSTEMS[text]


def test_what_cannot_be_told_is_empty(tmp_path: Path) -> None:
    def fails(_: int) -> tuple[bytes, ...]:
        raise OSError(1, "no netlink here")

    found = facts("1.2.3", [tmp_path / "none"], fails)
    assert (found.agent_version, found.ip_address, found.platform_name) == ("1.2.3", "", "")
    assert found.computer_name
