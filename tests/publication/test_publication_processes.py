"""Publication as other processes see it: readers in a tight loop, killed writers, full and unwritable file systems."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.packages.conftest import left_out

OTHER = "# top\n[other]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = a#b\n"

# Runs in a mount namespace of its own, so that nothing stays mounted: set-up by the shell, then this.
TRIAL = """
import json, sys
from datetime import UTC, datetime
from tests.sinks import file_sink
from rolekeeper.errors import OutputError
from rolekeeper.model import RoleToken
from rolekeeper.settings import CredentialsFile

sink, output = file_sink(lambda _: None), CredentialsFile(sys.argv[1], "default", 0o600, True, None, None, False)
token = RoleToken("ASIANEW", "new", "new" * 1000, datetime(2026, 11, 23, tzinfo=UTC))
answers = []
for act in (lambda: sink.prepare(output), lambda: sink.publish(output, token)):
    try:
        act()
        answers.append(["done", "", ""])
    except OutputError as error:
        answers.append([error.code, error.message, error.hint])
print(json.dumps(answers))
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "credentials").write_text(OTHER)
    return tmp_path / "credentials"


def trial(setup: str, file: Path, user: str = "") -> tuple[list[list[str]], str]:
    """What `prepare` and `publish` say after `setup`, and what is in the file then."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount, and become somebody else")
    script = f'{setup}\n{user} "$0" -B -c "$1" "$FILE"\ncat "$FILE"'
    command = ["unshare", "-m", "sh", "-ec", script, sys.executable, TRIAL]
    environment = os.environ | {"DIRECTORY": str(file.parent), "FILE": str(file)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if "mount: " in done.stderr or "unshare: " in done.stderr:
        left_out(f"cannot mount here: {done.stderr}")
    assert done.stderr == ""
    answers, _, content = done.stdout.partition("\n")
    return json.loads(answers), content


def refused(answers: list[list[str]]) -> tuple[str, str]:
    """Code and hint, when both refused with the same words."""
    foreseen, said = answers
    assert foreseen == said
    code, message, hint = said
    assert message.startswith("Cannot publish to /")
    return code, hint


def test_a_full_disk_is_foreseen_and_leaves_the_old_file(file: Path) -> None:
    setup = """
        mount -t tmpfs -o size=64k none "$DIRECTORY"
        printf '[other]\\nx = 1\\n' > "$FILE"
        dd if=/dev/zero of="$DIRECTORY/filler" bs=4k 2>/dev/null || true
    """
    answers, content = trial(setup, file)
    assert refused(answers) == ("no-space", "free some space on that file system")
    assert content == "[other]\nx = 1\n"


def test_a_read_only_file_system_is_foreseen_and_the_hint_names_the_sandbox(file: Path) -> None:
    setup = 'mount --bind "$DIRECTORY" "$DIRECTORY"; mount -o remount,ro,bind "$DIRECTORY"'
    answers, content = trial(setup, file)
    code, hint = refused(answers)
    assert code == "read-only"
    assert "ReadWritePaths=" in hint
    assert content == OTHER


def test_a_file_that_is_mounted_by_itself_is_foreseen_and_the_hint_names_the_directory(file: Path) -> None:
    answers, content = trial('cp "$FILE" "$FILE.2"; mount --bind "$FILE.2" "$FILE"', file)
    code, hint = refused(answers)
    assert code == "mounted-file"
    assert "mount the directory" in hint
    assert content == OTHER


def test_an_immutable_file_is_left_and_the_hint_says_where_to_look(file: Path) -> None:
    setup = 'chattr +i "$FILE" 2>/dev/null || echo "mount: no chattr" >&2'
    try:
        answers, content = trial(setup, file)
    finally:
        subprocess.run(["chattr", "-i", str(file)], check=False, capture_output=True)
    assert answers[1][0] == "not-permitted"
    assert "lsattr" in answers[1][2]
    assert content == OTHER


def test_a_directory_that_we_may_not_write_is_foreseen(file: Path) -> None:
    answers, content = trial("", file, user="setpriv --reuid=12345 --regid=12345 --clear-groups")
    code, hint = refused(answers)
    assert code == "permission-denied"
    assert "let the user that runs rolekeeper" in hint
    assert content == OTHER


UNMAPPED = """
import sys
from tests.sinks import file_sink
from rolekeeper.errors import OutputError
from rolekeeper.settings import CredentialsFile

for owner, group in ((None, 12345), (12345, None)):
    try:
        file_sink(print).prepare(CredentialsFile(sys.argv[1], "default", 0o640, True, owner, group, False))
    except OutputError as error:
        print(error.code, error.message, error.hint, sep="|")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="a user namespace of one user needs root here")
def test_an_owner_that_the_user_namespace_does_not_map_is_named(tmp_path: Path) -> None:
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", UNMAPPED, str(tmp_path / "credentials")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    group, user = (line.split("|") for line in done.stdout.splitlines())
    assert (group[0], user[0]) == ("unmapped-group", "unmapped-user")
    assert group[1].endswith("credentials: this user namespace does not map group 12345")
    assert "/proc/self/uid_map" in user[2]
