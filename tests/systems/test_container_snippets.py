"""The quadlets and Compose files of docs/endpoint.md, as podman's own generator and docker-compose read them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.docs.test_readme import ROOT
from tests.systems.conftest import root_or_skip

DOCUMENT = ROOT / "docs" / "endpoint.md"
ARCHIVES = "var/cache/apt/archives"
PROFILE = "AWS_SHARED_CREDENTIALS_FILE=/srv/app/aws/credentials.json.profile"
URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://169.254.170.2/app"
# What must be in the command that systemd starts, quadlet by quadlet.
QUADLETS = (
    ("-v /srv/app/aws:/srv/app/aws:ro,z", "--group-add 1234", f"--env {PROFILE}", "registry.example/app"),
    ("--env-file /run/rolekeeper/env/app", f"--env {URI}", "registry.example/app"),
)
COMPOSE = (
    ("/srv/app/aws:/srv/app/aws:ro,z", "- '1234'", PROFILE.replace("=", ": "), "image: registry.example/app"),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN: a-token", URI.replace("=", ": "), "image: registry.example/app"),
)


def snippets(introduction: str) -> list[str]:
    """The indented blocks below a line that begins so."""
    text = DOCUMENT.read_text(encoding="utf-8")
    found = re.findall(rf"^{introduction}[^\n]*:\n\n((?:(?:    [^\n]*)?\n)+)", text, re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in found]


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Podman's generator of Debian 13; Debian 12's podman has none."""
    root = root_or_skip("trixie")
    if not list((root / ARCHIVES).glob("podman_*.deb")):
        command = ["chroot", root, "sh", "-c", f"cd /{ARCHIVES} && apt-get -qq download podman"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"podman of Debian 13 cannot be had: {done.stderr.strip()}")
    (package,) = (root / ARCHIVES).glob("podman_*.deb")
    unpacked = tmp_path_factory.mktemp("podman")
    subprocess.run(["dpkg-deb", "--extract", package, unpacked], check=True)
    return unpacked / "usr" / "libexec" / "podman" / "quadlet"


@pytest.mark.parametrize("number", range(len(QUADLETS)))
def test_a_quadlet_becomes_the_command_that_the_page_means(generator: Path, tmp_path: Path, number: int) -> None:
    quadlet = snippets("A quadlet")[number]
    (tmp_path / "app.container").write_text(quadlet)
    done = subprocess.run(
        [generator, "-dryrun"],
        env={"QUADLET_UNIT_DIRS": str(tmp_path), "PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "unsupported" not in done.stderr
    (command,) = re.findall(r"^ExecStart=(.*)$", done.stdout, re.MULTILINE)
    assert all(one in command for one in QUADLETS[number]), command
    unit = re.findall(r"^(?:Requires|After)=rolekeeper.*$", quadlet, re.MULTILINE)
    assert all(line in done.stdout for line in unit)


@pytest.mark.parametrize("number", range(len(COMPOSE)))
def test_a_compose_file_is_read_as_the_page_means(tmp_path: Path, number: int) -> None:
    if shutil.which("docker-compose") is None:
        pytest.skip("docker-compose is missing")
    (tmp_path / "env").write_text("AWS_CONTAINER_AUTHORIZATION_TOKEN=a-token\n")
    text = snippets("Compose")[number].replace("/run/rolekeeper/env/app", str(tmp_path / "env"))
    (tmp_path / "compose.yaml").write_text(text)
    command = ["docker-compose", "--file", str(tmp_path / "compose.yaml"), "config"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(one in done.stdout for one in COMPOSE[number]), done.stdout


def test_no_snippet_of_the_page_is_left_out() -> None:
    assert len(snippets("A quadlet")) == len(QUADLETS)
    assert len(snippets("Compose")) == len(COMPOSE)
