"""The package for arm64 on Debian 12 and 13, through qemu: the kernel starts arm64 programs, and no systemd runs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.packages.conftest import need
from tests.systems import roots
from tests.systems.conftest import root_or_skip, whole

from rolekeeper import __version__
from rolekeeper.emulator import Emulator

ROOT = Path(__file__).parents[2]
# In namespaces of its own; $1: a scratch directory, $2: the root file system, $3: the .deb, then what register needs.
SCRIPT = """
set -eu
scratch=$1 root=$2 deb=$3 activation=$4 region=$5 url=$6
mount -t tmpfs tmpfs "$scratch"
mkdir "$scratch/new" "$scratch/work" "$scratch/all"
all=$scratch/all
mount -t overlay overlay -o "lowerdir=$root,upperdir=$scratch/new,workdir=$scratch/work" "$all"
mount -t proc proc "$all/proc"
mount --rbind /dev "$all/dev"
cp "$deb" "$all/root/rolekeeper.deb"
export DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8
in_root() { chroot "$all" "$@"; }
in_root apt-get install --quiet --yes --no-install-recommends /root/rolekeeper.deb </dev/null
printf '%032d\\n' 7 >"$all/etc/machine-id"
printf '[service]\\nendpoint_url = "%s"\\n' "$url" >"$all/etc/rolekeeper/conf.d/test.toml"
in_root dpkg --print-architecture
in_root rolekeeper register --activation-id "$activation" --region "$region"
in_root rolekeeper attempt </dev/null
in_root rolekeeper version </dev/null
echo "== published"
cat "$all/root/.aws/credentials"
"""
pytestmark = [whole, pytest.mark.timeout(3600)]


@pytest.fixture
def scratch() -> Iterator[Path]:
    directory = Path(f"/dev/shm/rolekeeper-arm64-{os.getpid()}")
    directory.mkdir()
    yield directory
    directory.rmdir()


@pytest.mark.parametrize("system", ["bookworm-arm64", "trixie-arm64"])
def test_the_package_for_arm64_registers_and_publishes(system: str, scratch: Path) -> None:
    directory = root_or_skip(system)
    try:
        roots.enable_emulation()  # of a root that was made before the machine's last boot
    except roots.NotToBeHadError as error:
        pytest.skip(f"no arm64 programs can be run: {error}")
    need("aarch64-linux-gnu-strip", "binutils-aarch64-linux-gnu")
    into = ROOT / "build" / "tests"
    build = [sys.executable, "packaging/packages.py", "--architecture=arm64", "--version", __version__]
    subprocess.run([*build, "--into", into], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    with Emulator() as emulator:
        activation = emulator.create_activation()
        arguments = (scratch, directory, into / f"rolekeeper_{__version__}_arm64.deb")
        wanted = (activation.activation_id, emulator.region, emulator.url)
        done = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", SCRIPT, "sh", *arguments, *wanted],
            input=activation.code,
            capture_output=True,
            text=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"},
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        (token,) = emulator.tokens
        printed, _, published = done.stdout.partition("== published\n")
        assert "\narm64\n" in printed
        assert '"outcome": "issued"' in printed
        assert token in published
