"""What is in the two packages, read with dpkg's and rpm's own tools."""

import gzip
import os
import re
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from tests.packages.conftest import ROOT, Packages, Unpacked, need, output

from rolekeeper import __version__

PREFIX = "/usr/lib/rolekeeper"
LARGEST_INSTALLED = 45_000_000  # bytes, with the bytecode of one Python; tests/systems looks at each of them
LARGEST_DEB = 16_000_000  # bytes
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
EVERYWHERE = {  # installed file -> the file of the repository with the same contents
    "/etc/rolekeeper/config.toml": "config/config.toml",
    "/usr/bin/rolekeeper": "packaging/launcher",
    "/usr/lib/systemd/catalog/rolekeeper.catalog": "systemd/rolekeeper.catalog",
    "/usr/share/bash-completion/completions/rolekeeper": "packaging/completion/rolekeeper",
    **{
        f"/usr/lib/systemd/system/{unit.name}": f"systemd/{unit.name}"
        for unit in (ROOT / "systemd").iterdir()
        if unit.suffix in (".service", ".socket")
    },
}
COMPRESSED = {
    "/usr/share/man/man8/rolekeeper.8.gz": "packaging/man/rolekeeper.8",
    "/usr/share/man/man5/rolekeeper.toml.5.gz": "packaging/man/rolekeeper.toml.5",
}
ONLY_DEB = {
    "/usr/share/doc/rolekeeper/changelog.gz",
    "/usr/share/doc/rolekeeper/copyright",
    "/usr/share/lintian/overrides/rolekeeper",
}
ONLY_RPM = {
    "/usr/lib/systemd/system-preset/80-rolekeeper.preset",
    "/usr/share/licenses/rolekeeper/LICENSE",
    "/usr/share/licenses/rolekeeper/copyright",
}


@pytest.fixture(scope="session")
def deb(packages: Packages) -> dict[str, tarfile.TarInfo]:
    """Every file and directory of the .deb, by its path once installed."""
    need("dpkg-deb", "dpkg")
    command = ["dpkg-deb", "--fsys-tarfile", str(packages.deb)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as archive,
    ):
        return {member.name.removeprefix("."): member for member in archive}


@pytest.fixture(scope="session")
def rpm(packages: Packages) -> dict[str, str]:
    """Every path of the .rpm, with mode, owner and flags as rpm writes them."""
    need("rpm", "rpm")
    form = "[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME} %{FILEFLAGS:fflags}|%{FILELINKTOS}\n]"
    lines = output("rpm", "-qp", "--queryformat", form, packages.rpm).splitlines()
    return dict(line.split(" ", 1) for line in lines)


def outside(paths: set[str]) -> set[str]:
    return {path for path in paths if path != PREFIX and not path.startswith(f"{PREFIX}/")}


def field(packages: Packages, name: str) -> str:
    return output("dpkg-deb", "--field", packages.deb, name).strip()


def test_the_packages_are_named_by_the_version(packages: Packages) -> None:
    assert packages.deb.name == f"rolekeeper_{__version__}_amd64.deb"
    assert packages.rpm.name == f"rolekeeper-{__version__}-1.x86_64.rpm"


def test_the_deb_and_its_changelog_have_the_version(packages: Packages, unpacked: Unpacked) -> None:
    assert field(packages, "Version") == __version__
    changelog = gzip.decompress((unpacked.root / "usr/share/doc/rolekeeper/changelog.gz").read_bytes()).decode()
    assert changelog.startswith(f"rolekeeper ({__version__}) ")


def test_the_rpm_has_the_version(packages: Packages) -> None:
    need("rpm", "rpm")
    assert output("rpm", "-qp", "--queryformat", "%{VERSION}", packages.rpm) == __version__


def test_outside_its_tree_the_deb_has_these_files_and_no_other(deb: dict[str, tarfile.TarInfo]) -> None:
    files = {path for path, member in deb.items() if not member.isdir()}
    assert outside(files) == {*EVERYWHERE, *COMPRESSED, *ONLY_DEB}


def test_outside_its_tree_the_rpm_has_these_files_and_no_other(rpm: dict[str, str]) -> None:
    directories = {"/etc/rolekeeper", "/etc/rolekeeper/conf.d"}
    assert outside(set(rpm)) == {*EVERYWHERE, *COMPRESSED, *ONLY_RPM, *directories}


def test_both_packages_have_the_same_tree(deb: dict[str, tarfile.TarInfo], rpm: dict[str, str]) -> None:
    assert set(deb) - outside(set(deb)) == set(rpm) - outside(set(rpm))


@pytest.mark.parametrize("path", EVERYWHERE)
def test_a_file_is_that_of_the_repository(path: str, unpacked: Unpacked) -> None:
    assert (unpacked.root / path[1:]).read_bytes() == (ROOT / EVERYWHERE[path]).read_bytes()


@pytest.mark.parametrize("path", COMPRESSED)
def test_a_man_page_is_that_of_the_repository(path: str, unpacked: Unpacked) -> None:
    assert gzip.decompress((unpacked.root / path[1:]).read_bytes()) == (ROOT / COMPRESSED[path]).read_bytes()


def test_the_units_are_among_the_files() -> None:
    assert "/usr/lib/systemd/system/rolekeeper.service" in EVERYWHERE


def test_there_is_a_place_for_more_configuration(deb: dict[str, tarfile.TarInfo]) -> None:
    assert deb["/etc/rolekeeper/conf.d"].isdir()


def test_everything_belongs_to_root(deb: dict[str, tarfile.TarInfo]) -> None:
    assert {(member.uid, member.gid) for member in deb.values()} == {(0, 0)}


def test_everyone_can_read_everything_and_run_only_the_programs(deb: dict[str, tarfile.TarInfo]) -> None:
    modes = {path: member.mode for path, member in deb.items() if not member.issym()}
    programs = {"/usr/bin/rolekeeper", f"{PREFIX}/bin/compile"}
    assert modes == {path: 0o755 if deb[path].isdir() or path in programs else 0o644 for path in modes}


def test_the_same_holds_for_the_rpm(rpm: dict[str, str], deb: dict[str, tarfile.TarInfo]) -> None:
    kinds = {path: stat.S_IFDIR if deb[path].isdir() else stat.S_IFREG for path in rpm if path in deb}
    expected = {path: f"{stat.filemode(deb[path].mode | kind)} root" for path, kind in kinds.items()}
    assert {path: " ".join(rpm[path].split()[:2]) for path in kinds if not deb[path].issym()} == {
        path: text for path, text in expected.items() if not deb[path].issym()
    }


def test_the_interpreters_are_the_systems(deb: dict[str, tarfile.TarInfo], rpm: dict[str, str]) -> None:
    for version in ("3", *PYTHONS):
        assert deb[f"{PREFIX}/bin/python{version}"].linkname == f"/usr/bin/python{version}"
        assert rpm[f"{PREFIX}/bin/python{version}"].endswith(f"|/usr/bin/python{version}")


def test_the_extension_modules_are_there_for_every_python(unpacked: Unpacked) -> None:
    names = {path.name for path in unpacked.site_packages.rglob("*.so")}
    for python in PYTHONS:
        suffix = f"cpython-{python.replace('.', '')}-x86_64-linux-gnu.so"
        assert {f"_cffi_backend.{suffix}", f"_pydantic_core.{suffix}"} < names
        assert (unpacked.tree / "lib" / f"python{python}" / "site-packages").samefile(unpacked.site_packages)
    assert {"_rust.abi3.so", "_psutil_linux.abi3.so"} < names
    assert len(names) == 2 * len(PYTHONS) + 2


def test_the_sizes_are_printed_and_within_the_promise(packages: Packages, unpacked: Unpacked) -> None:
    found = re.search(r"([\d.]+) MB  installed", packages.printed)
    assert found
    size = int(output("du", "--summarize", "--apparent-size", "--block-size=1", unpacked.root).split()[0])
    assert size / 1e6 <= float(found[1]) <= LARGEST_INSTALLED / 1e6
    assert int(field(packages, "Installed-Size")) * 1024 <= LARGEST_INSTALLED
    assert packages.deb.stat().st_size <= LARGEST_DEB


def test_a_newer_python_does_not_remove_the_deb(packages: Packages) -> None:
    depends = field(packages, "Depends").split(", ")
    assert {"python3 (>= 3.11)", "dmidecode", "ca-certificates"} < set(depends)
    assert [one for one in depends if "<" in one] == []


def test_the_rpm_depends_on_any_supported_python(packages: Packages) -> None:
    need("rpm", "rpm")
    requires = set(output("rpm", "-qp", "--requires", packages.rpm).splitlines())
    assert {"(python3 >= 3.11 or python3.12 or python3.11)", "libgcc_s.so.1()(64bit)", "dmidecode"} < requires


def test_another_python_of_the_system_makes_both_packages_compile_again(packages: Packages) -> None:
    need("rpm", "rpm")
    triggers = output("dpkg-deb", "--info", packages.deb, "triggers").splitlines()
    assert {f"interest-noawait /usr/bin/python{version}" for version in ("3", *PYTHONS)} < set(triggers)
    assert "transfiletriggerin" in output("rpm", "-qp", "--filetriggers", packages.rpm)


def test_there_is_no_bytecode_that_would_be_for_one_python_only(deb: dict[str, tarfile.TarInfo]) -> None:
    assert [path for path in deb if "__pycache__" in path] == []


def test_no_library_needs_a_newer_libc_than_the_packages_say(packages: Packages, unpacked: Unpacked) -> None:
    found = re.search(r"libc6 \(>= (\d+)\.(\d+)\)", field(packages, "Depends"))
    assert found
    libraries = list(unpacked.site_packages.rglob("*.so"))
    assert len(libraries) >= 4
    for library in libraries:
        versions = re.findall(rb"GLIBC_(\d+)\.(\d+)", library.read_bytes())
        assert max((int(major), int(minor)) for major, minor in versions) <= (int(found[1]), int(found[2])), library


def test_the_configuration_is_the_administrators(packages: Packages, rpm: dict[str, str]) -> None:
    assert output("dpkg-deb", "--info", packages.deb, "conffiles").split() == ["/etc/rolekeeper/config.toml"]
    assert rpm["/etc/rolekeeper/config.toml"].split()[-1] == "cn|"  # config, noreplace


def test_the_copyright_file_names_every_library(unpacked: Unpacked) -> None:
    text = (unpacked.root / "usr/share/doc/rolekeeper/copyright").read_text()
    libraries = [path.name.partition("-")[0] for path in unpacked.site_packages.glob("*.dist-info")]
    assert len(libraries) >= 15
    assert [name for name in libraries if name != "rolekeeper" and f" */site-packages/{name}-*\n" not in text] == []


def test_the_copyright_file_has_the_text_of_every_licence_that_it_names(unpacked: Unpacked) -> None:
    text = (unpacked.root / "usr/share/doc/rolekeeper/copyright").read_text()
    stanzas = text.split("\n\n")
    named = {
        licence
        for stanza in stanzas
        if stanza.lstrip().startswith("Files:")
        for line in re.findall(r"^License: (.+)$", stanza, re.MULTILINE)
        for licence in re.split(r" and | or ", line)
    }
    texts = {found[1] for stanza in stanzas if (found := re.match(r"\n?License: (\S+)\n .", stanza))}
    assert named == texts


PACKAGING = ROOT / "packaging"
SCRIPTS = [*PACKAGING.glob("deb/p[or]*"), *PACKAGING.glob("rpm/p*")]
SCRIPTS += [PACKAGING / name for name in ("compile", "find-python", "install", "launcher", "make-venv", "uninstall")]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: f"{script.parent.name}-{script.name}")
def test_a_script_is_one_for_sh(script: Path) -> None:
    output("sh", "-n", script)


def test_the_maintainers_scripts_are_in_the_packages(packages: Packages) -> None:
    need("rpm", "rpm")
    for name in ("postinst", "prerm", "postrm"):
        assert output("dpkg-deb", "--info", packages.deb, name) == (ROOT / "packaging" / "deb" / name).read_text()
    scripts = output("rpm", "-qp", "--scripts", packages.rpm)
    assert [
        name
        for name in ("pre", "post", "preun", "postun")
        if (ROOT / "packaging" / "rpm" / name).read_text() not in scripts
    ] == []


def test_lintian_has_nothing_to_say_but_what_the_overrides_explain(packages: Packages) -> None:
    need("lintian", "lintian")
    command = ["lintian", "--allow-root", "--fail-on", "error,warning", "--info", str(packages.deb)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_rpmlint_has_nothing_to_say_but_what_its_configuration_explains(packages: Packages) -> None:
    need("rpmlint", "rpmlint")
    command = ["rpmlint", "--config", Path(__file__).with_name("rpmlint.toml"), packages.rpm]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "1 packages and 0 specfiles checked; 0 errors, 0 warnings" in done.stdout, done.stdout


@pytest.fixture(scope="module")
def another_version(packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The .deb and the .rpm of another version, built in two environments, in this order."""
    found = []
    for umask, zone in ((0o022, "UTC"), (0o077, "Asia/Kolkata")):
        into = tmp_path_factory.mktemp("another")
        command = [sys.executable, "packaging/packages.py", "--architecture=amd64", "--quick", "--version", "987.6.5"]
        environment = {**os.environ, "TZ": zone}
        subprocess.run(
            [*command, "--into", into], cwd=ROOT, check=True, capture_output=True, umask=umask, env=environment
        )
        found += [into / package.name.replace(__version__, "987.6.5") for package in (packages.deb, packages.rpm)]
    return found


def test_the_same_sources_make_the_same_bytes_whatever_umask_and_time_zone_are(another_version: list[Path]) -> None:
    deb, rpm, other_deb, other_rpm = another_version
    assert deb.read_bytes() == other_deb.read_bytes()
    assert rpm.read_bytes() == other_rpm.read_bytes()


def test_another_version_can_be_built_to_try_an_upgrade(another_version: list[Path], tmp_path: Path) -> None:
    newer = another_version[0]
    assert output("dpkg-deb", "--field", newer, "Version") == "987.6.5\n"
    output("dpkg-deb", "--extract", newer, tmp_path)
    assert Unpacked(tmp_path).rolekeeper("version").stdout == "rolekeeper 987.6.5\n"


def test_a_version_that_the_package_managers_order_differently_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "packaging/packages.py", "--version", "1.0rc1", "--into", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Cannot package version 1.0rc1")
    assert list(tmp_path.iterdir()) == []


def test_every_override_is_explained() -> None:
    lines = (ROOT / "packaging" / "deb" / "lintian-overrides").read_text().splitlines()
    overrides = [number for number, line in enumerate(lines) if not line.startswith("#")]
    assert [lines[number] for number in overrides if not lines[number - 1].startswith("#")] == []
