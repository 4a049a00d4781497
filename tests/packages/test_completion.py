"""bash's completion, asked as bash asks it, against the command line."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.packages.test_man_pages import options_of

from rolekeeper.cli import parser

SCRIPT = Path(__file__).parents[2] / "packaging" / "completion" / "rolekeeper"
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not there")


def completed(*words: str, directory: Path | None = None) -> list[str]:
    """What bash offers for the last of `words`."""
    line = " ".join(map(shlex.quote, ("rolekeeper", *words)))
    program = (
        f"source {shlex.quote(str(SCRIPT))}\n"
        f"COMP_WORDS=({line}); COMP_CWORD={len(words)}\n"
        '_rolekeeper\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    command = ["bash", "--norc", "--noprofile", "-uc", program]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=directory)
    assert done.stderr == ""
    return done.stdout.split()


def test_the_first_word_is_a_verb() -> None:
    assert completed("") == list(parser.VERBS)
    assert completed("re") == ["register", "refresh"]


def test_before_the_verb_there_are_the_common_options() -> None:
    assert completed("-") == ["--config", "--help"]


@pytest.mark.parametrize("verb", parser.VERBS)
def test_a_verb_completes_to_the_options_of_its_help(verb: str) -> None:
    assert set(completed(verb, "-")) == options_of(verb) | {"--help"}


@pytest.mark.parametrize("verb", parser.VERBS)
def test_a_verb_is_known_behind_the_common_options(verb: str) -> None:
    assert completed("--config", "some.toml", verb, "-") == completed(verb, "-")


FILE_OPTIONS = {
    "--config": (),
    "--activation-code-file": ("register",),
    "--agent-config": ("adopt",),
    "--file": ("credential-process",),
    "--state": ("emulator",),
    "--tls-certificate": ("emulator",),
    "--tls-key": ("emulator",),
}


@pytest.mark.parametrize("option", FILE_OPTIONS)
def test_a_file_option_completes_to_files(option: str, tmp_path: Path) -> None:
    (tmp_path / "code").touch()
    (tmp_path / "other").touch()
    assert completed(*FILE_OPTIONS[option], option, "co", directory=tmp_path) == ["code"]


def test_a_directory_option_completes_to_directories(tmp_path: Path) -> None:
    (tmp_path / "vault").mkdir()
    (tmp_path / "vault.txt").touch()
    assert completed("adopt", "--from", "va", directory=tmp_path) == ["vault"]


def test_the_words_of_fingerprint_are_offered() -> None:
    assert completed("fingerprint", "") == ["show", "check", "accept", "threshold"]
    assert completed("fingerprint", "threshold", "") == ["off"]


def test_nothing_is_offered_for_what_only_the_user_knows() -> None:
    assert completed("register", "--activation-id", "") == []


def test_bash_uses_it_for_the_command() -> None:
    program = f"source {shlex.quote(str(SCRIPT))}; complete -p rolekeeper"
    done = subprocess.run(["bash", "--norc", "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "complete -F _rolekeeper rolekeeper\n"
