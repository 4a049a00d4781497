"""Reading the configuration: files in, settings or every problem out."""

import errno
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from rolekeeper.config.load import load_settings
from rolekeeper.errors import ConfigurationError, Problem
from rolekeeper.model import OutputName
from rolekeeper.settings import Endpoint, FileFormat, Role, Settings
from rolekeeper.values import replace

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes toml and, as keyword arguments, fragments in conf.d; returns the path of toml."""

    def write(text: str, **fragments: str) -> Path:
        path = tmp_path / "toml"
        path.write_text(text)
        for name, fragment in fragments.items():
            (tmp_path / "conf.d").mkdir(exist_ok=True)
            (tmp_path / "conf.d" / f"{name}.toml").write_text(fragment)
        return path

    return write


def problems(path: Path) -> list[Problem]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    return list(caught.value.problems)


def problem(path: Path) -> Problem:
    (only,) = problems(path)
    return only


def defaults(tmp_path: Path) -> Settings:
    return load_settings(None, tmp_path / "nothing" / "toml")


def test_without_any_file_the_defaults_hold(tmp_path: Path) -> None:
    settings = defaults(tmp_path)
    assert settings.vault_directory == "/var/lib/rolekeeper/vault"
    assert settings.daemon.attempt_timeout == timedelta(minutes=2)
    assert settings.rotate_key_after is None
    assert [(output.path, output.profile, output.mode, output.keep_mode) for output in settings.credentials_files] == [
        ("/root/.aws/credentials", "default", 0o600, True)
    ]


def test_an_empty_file_says_what_no_file_says(write: Write, tmp_path: Path) -> None:
    empty, none = load_settings(write("")), load_settings(Path(os.devnull))
    assert replace(empty, digest="") == replace(none, digest="") == replace(defaults(tmp_path), digest="")


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    path = tmp_path / "absent.toml"
    told = problem(path)
    assert (told.where, told.key) == (str(path), "")
    assert "No such file" in told.message


def test_a_file_that_cannot_be_seen_just_now_is_not_taken_for_an_absent_one(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write('[vault]\ndirectory = "/srv/vault"')

    def failing_disk(path: Path, **_options: object) -> os.stat_result:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(os, "lstat", failing_disk)
    assert load_settings(None, path).vault_directory == "/srv/vault"


def test_every_key_arrives_in_its_setting(write: Write) -> None:
    settings = load_settings(
        write("""
        [node]
        region = "us-gov-west-1"
        activation_id = "01234567-89ab-cdef-0123-456789abcdef"
        activation_code_file = "/etc/rolekeeper/code"
        [service]
        sts_endpoint_url = ""
        proxy_url = "http://user:password@proxy.example:3128"
        ca_bundle = "/etc/ssl/own.pem"
        fips = true
        dual_stack = true
        connect_timeout = "1s"
        read_timeout = "500ms"
        [vault]
        directory = "/srv/vault/"
        seal = "host+tpm2"
        [daemon]
        runtime_directory = "/run/other"
        attempt_timeout = "10s"
        log_level = "debug"
        [refresh]
        at = 0.25
        [hibernation]
        first_probe = "1s"
        longest_probe = "2s"
        [key]
        rotate_after = "30d"
        [health]
        report_every = "5min"
        [[credentials_file]]
        path = "/srv//app/./credentials"
        profile = "app"
        mode = "0640"
        owner = "app"
        group = 33
        replace_long_lived_keys = true
        role = "web"
        [[credentials_file]]
        path = "/srv/app/process.json"
        format = "process"
        [[endpoint]]
        name = "web.1"
        owner = 7
        group = "domain users"
        role = "web"
        [[role]]
        name = "web"
        arn = "arn:aws-us-gov:iam::123456789012:role/path/of/web"
        session_name = "rack=7"
        external_id = "a:b/c"
        duration = "15min"
        policy_file = "/etc/rolekeeper/web.json"
        policy_arns = ["arn:aws-us-gov:iam::aws:policy/job-function/ViewOnlyAccess"]
        tags = { "team of Zoë" = "web", empty = "" }
        """)
    )
    assert settings.service.sts_endpoint_url is None
    assert (settings.vault_seal, settings.report_health_every) == ("host+tpm2", timedelta(minutes=5))
    (_, process) = settings.credentials_files
    assert process.output_name == OutputName("/srv/app/process.json", "")
    assert (process.format, process.profile, process.role) == (FileFormat.PROCESS, "", None)
    assert settings.endpoints == (Endpoint("web.1", 7, "domain users", "web"),)
    assert settings.roles == (
        Role(
            name="web",
            arn="arn:aws-us-gov:iam::123456789012:role/path/of/web",
            session_name="rack=7",
            external_id="a:b/c",
            duration=timedelta(minutes=15),
            policy_file="/etc/rolekeeper/web.json",
            policy_arns=("arn:aws-us-gov:iam::aws:policy/job-function/ViewOnlyAccess",),
            tags={"team of Zoë": "web", "empty": ""},
        ),
    )
    assert settings.node.region == "us-gov-west-1"
    assert settings.node.activation_id == "01234567-89ab-cdef-0123-456789abcdef"
    assert settings.node.activation_code_file == "/etc/rolekeeper/code"
    assert settings.service.proxy_url == "http://user:password@proxy.example:3128"
    assert settings.service.ca_bundle == "/etc/ssl/own.pem"
    assert (settings.service.fips, settings.service.dual_stack) == (True, True)
    assert settings.service.connect_timeout == timedelta(seconds=1)
    assert settings.service.read_timeout == timedelta(milliseconds=500)
    assert settings.vault_directory == "/srv/vault"
    assert settings.daemon.runtime_directory == "/run/other"
    assert settings.daemon.attempt_timeout == timedelta(seconds=10)
    assert settings.daemon.log_level == "debug"
    assert settings.refresh_share == 0.25
    assert settings.hibernation.first_probe == timedelta(seconds=1)
    assert settings.hibernation.longest_probe == timedelta(seconds=2)
    assert settings.rotate_key_after == timedelta(days=30)
    output = settings.credentials_files[0]
    assert (output.path, output.profile, output.role) == ("/srv/app/credentials", "app", "web")
    assert (output.mode, output.keep_mode) == (0o640, False)
    assert (output.owner, output.group) == ("app", 33)
    assert output.replace_long_lived_keys


def test_later_files_win_key_by_key_and_credentials_files_add_up(write: Write) -> None:
    one, two = '[[credentials_file]]\npath = "/one"\n', '[[credentials_file]]\npath = "/two"\n'
    path = write(
        '[service]\nfips = true\nread_timeout = "1s"\n' + one,
        **{"20-late": '[service]\nread_timeout = "3s"\n', "10-early": '[service]\nread_timeout = "2s"\n' + two},
    )
    settings = load_settings(path)
    assert settings.service.fips
    assert settings.service.read_timeout == timedelta(seconds=3)
    assert [output.path for output in settings.credentials_files] == ["/one", "/two"]


def test_an_empty_string_takes_back_what_an_earlier_file_says(write: Write) -> None:
    path = write('[service]\nproxy_url = "http://proxy:3128"\n', direct='[service]\nproxy_url = ""\n')
    assert load_settings(path).service.proxy_url is None


def test_fragments_are_read_when_the_default_file_is_missing(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "own.toml").write_text("[service]\nfips = true\n")
    assert load_settings(None, tmp_path / "toml").service.fips


def test_only_visible_toml_files_are_fragments(write: Write, tmp_path: Path) -> None:
    path = write("", good="[service]\nfips = true\n")
    for name in ("notes.txt", "old.toml.bak", ".#good.toml"):
        (tmp_path / "conf.d" / name).write_text("not toml")
    assert load_settings(path).service.fips


def test_every_problem_of_every_file_is_told_at_once(write: Write, tmp_path: Path) -> None:
    path = write(
        '[service]\nfibs = true\nread_timeout = 30\n[[credentials_file]]\n[[credentials_file]]\npath = "here"\n',
        broken="[service\n",
        other='[node]\nregion = "somewhere"\n',
    )
    told = [(found.where, found.key) for found in problems(path)]
    fragments = tmp_path / "conf.d"
    assert sorted(told) == sorted(
        [
            (str(path), "service.fibs"),
            (str(path), "service.read_timeout"),
            (str(path), "credentials_file[1].path"),
            (str(fragments / "broken.toml"), ""),
            (str(fragments / "other.toml"), "node.region"),
        ]
    )


def test_the_error_ends_a_command_with_78_and_names_file_key_and_remedy(write: Write) -> None:
    path = write("[service]\nread_timeout = 30\n")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    assert caught.value.exit_code == 78
    assert str(caught.value) == f'{path}: service.read_timeout: is a number without a unit (write "30s")'


def test_a_syntax_error_is_told_with_line_and_column(write: Write) -> None:
    told = problem(write("[service]\nfips = yes\n"))
    assert told.message.startswith("is not valid TOML")
    assert "line 2" in told.message
    assert "column" in told.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[node]\nregion = '\xff'\n", "is not UTF-8 (at line 2)"),
        (b"x = " + b"[" * 8_000, "nested too deeply"),
        (b"x = " + b"9" * 8_000, "is not valid TOML"),
        (b"[node]\n" + b".".join([b"a"] * 4_097) + b" = 1\n", "has more than 8192 bytes in line 2"),
        (b"#\n" * 70_000, "is larger than 131072 bytes"),
    ],
)
def test_a_file_that_is_no_toml_at_all_is_told_as_such(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "toml"
    path.write_bytes(content)
    assert message in problem(path).message


def test_a_directory_in_the_place_of_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "toml").mkdir()
    (tmp_path / "conf.d").write_text("")
    told = {found.where: found.message for found in problems(tmp_path / "toml")}
    assert told == {
        str(tmp_path / "toml"): "cannot be read: Is a directory",
        str(tmp_path / "conf.d"): "cannot be listed: Not a directory",
    }


def test_what_could_be_waited_for_is_refused(tmp_path: Path) -> None:
    controller, terminal = os.openpty()
    os.mkfifo(tmp_path / "toml")
    assert problem(tmp_path / "toml").message == "is not a regular file"
    assert problem(Path(os.ttyname(terminal))).message == "is not a regular file"
    os.close(terminal)
    os.close(controller)


def test_a_default_file_that_is_a_dangling_link_is_not_taken_for_absent(tmp_path: Path) -> None:
    (tmp_path / "toml").symlink_to("gone")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings(None, tmp_path / "toml")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_told(write: Write) -> None:
    path = write("")
    path.chmod(0)
    assert problem(path).message == "cannot be read: Permission denied"


def test_two_tables_for_the_same_file_and_profile_are_refused_wherever_they_stand(write: Write) -> None:
    table = '[[credentials_file]]\npath = "/a/b"\n'
    told = problem(write(table, again='[[credentials_file]]\npath = "/other"\n[[credentials_file]]\npath = "/a//b"\n'))
    assert told.where.endswith("again.toml")
    assert told.key == "credentials_file[1]"
    assert "credentials_file[0] in " in told.message


def test_one_file_may_hold_several_profiles(write: Write) -> None:
    path = write("", a='[[credentials_file]]\nprofile = "a"\n', b='[[credentials_file]]\nprofile = "b"\n')
    assert [output.profile for output in load_settings(path).outputs] == ["a", "b"]


@pytest.mark.parametrize("url", ["endpoint_url", "sts_endpoint_url"])
@pytest.mark.parametrize("variant", ["fips", "dual_stack"])
def test_an_endpoint_url_cannot_be_used_with_an_endpoint_variant(write: Write, url: str, variant: str) -> None:
    path = write(f'[service]\n{url} = "http://127.0.0.1:1"\n', late=f"[service]\n{variant} = true\n")
    told = problem(path)
    assert told.where.endswith("late.toml")
    assert told.key == f"service.{variant}"
    assert str(path) in told.hint
    (path.parent / "conf.d" / "later.toml").write_text(f'[service]\n{url} = ""\n')
    assert getattr(load_settings(path).service, url) is None


def test_the_first_probe_cannot_come_later_than_the_longest_interval(write: Write) -> None:
    told = problem(write('[hibernation]\nlongest_probe = "4min"\n'))
    assert (told.key, told.hint.partition(" in ")[0]) == (
        "hibernation.longest_probe",
        "set first_probe as well, or change longest_probe",
    )
    told = problem(write('[hibernation]\nfirst_probe = "2h"\n'))
    assert told.hint.startswith("set longest_probe as well, or change first_probe in ")
    path = write('[hibernation]\nlongest_probe = "4min"\n', first='[hibernation]\nfirst_probe = "4min"\n')
    assert load_settings(path).hibernation.first_probe == timedelta(minutes=4)


def test_a_value_that_is_wrong_already_is_not_held_against_another(write: Write) -> None:
    assert problem(write('[hibernation]\nfirst_probe = 30\nlongest_probe = "1min"\n')).key == "hibernation.first_probe"


def test_contradictions_are_told_beside_other_problems(write: Write) -> None:
    path = write('[service]\nendpoint_url = "http://h"\nfips = true\nread_timeout = 1\n')
    assert {found.key for found in problems(path)} == {"service.fips", "service.read_timeout"}


@pytest.mark.parametrize(
    ("first", "second", "wrong"),
    [
        ('mode = "0600"', 'mode = "0640"', ["mode"]),
        ('mode = "0600"', 'mode = "600"', []),
        ('mode = "0640"', "", []),
        ('group = "app"', "group = 33", ["group"]),
        ('group = "app"', "", []),
        ('group = "app"', 'group = ""', []),
        ('owner = "app"', "", ["owner"]),
        ('owner = "app"', 'owner = "app"', []),
        ('owner = "root"', "", []),
        ("owner = 0", 'owner = "root"', []),
        ('owner = "app"', 'owner = "web"\ngroup = "web"', ["owner"]),
        ('mode = "0640"', 'mode = "0600"\npath = "/other"', []),
    ],
)
def test_profiles_in_one_file_want_one_owner_group_and_mode(
    write: Write, first: str, second: str, wrong: list[str]
) -> None:
    path = write(f"[[credentials_file]]\n{first}\n", more=f'[[credentials_file]]\nprofile = "b"\n{second}\n')
    told = problems(path) if wrong else []
    assert [found.key for found in told] == [f"credentials_file[0].{name}" for name in wrong]
    assert all(found.message.startswith(f"is not that of credentials_file[0] in {path}") for found in told)
    assert wrong or load_settings(path)


def test_a_repeated_output_is_told_by_its_place_in_the_file_though_another_is_wrong(write: Write) -> None:
    told = problems(write("[[credentials_file]]\nmode = 600\n[[credentials_file]]\n[[credentials_file]]\n"))
    assert [found.key for found in told] == ["credentials_file[0].mode", "credentials_file[2]"]
    assert told[1].message.startswith("has the same file and profile as credentials_file[1] in ")


ROLE = '[[role]]\nname = "web"\narn = "arn:aws:iam::123456789012:role/web"\n'


@pytest.mark.parametrize(
    ("text", "key", "message", "hint"),
    [
        ('[[endpoint]]\nname = "a"\nrole = "wbe"\n' + ROLE, "endpoint[0].role", "names no [[role]]: wbe", "mean web?"),
        ('[[credentials_file]]\nrole = "x"\n', "credentials_file[0].role", "names no [[role]]: x", "write a [[role]]"),
        ('[[endpoint]]\nname = "a"\n' * 2, "endpoint[1]", "has the same name as endpoint[0] in ", "another name"),
        (ROLE * 2, "role[1]", "has the same name as role[0] in ", "another name"),
        (ROLE + 'role = "web"\n', "role[0].role", "is not a known key", "[[credentials_file]] or [[endpoint]]"),
        ("[[endpoint]]\n", "endpoint[0].name", "is missing", "below [[endpoint]]"),
        ('[[role]]\nname = "a"\n', "role[0].arn", "is missing", "below [[role]]"),
        ("[endpoint]\n", "endpoint", "must be an array of tables, not a table", "[[endpoint]], in double brackets"),
        ('[[credentials_file]]\nformat = "process"\n', "credentials_file[0].path", "is missing", "nothing else uses"),
        (
            '[[credentials_file]]\npath = "/p"\nformat = "process"\nprofile = "a"\n',
            "credentials_file[0].profile",
            "has no meaning in a process file",
            "remove it",
        ),
        (
            '[[credentials_file]]\npath = "/p"\nformat = "process"\nreplace_long_lived_keys = false\n',
            "credentials_file[0].replace_long_lived_keys",
            "has no meaning in a process file",
            "remove it",
        ),
        (
            '[[credentials_file]]\npath = "/p"\n[[credentials_file]]\npath = "/p"\nformat = "process"\n',
            "credentials_file[1].format",
            "is not that of credentials_file[0]",
            "the same for both",
        ),
        (
            '[[credentials_file]]\npath = "/p"\nformat = "process"\n' * 2,
            "credentials_file[1]",
            "has the same file and profile as credentials_file[0]",
            "remove one",
        ),
    ],
)
def test_outputs_and_roles_that_do_not_fit_together_are_reported(
    write: Write, text: str, key: str, message: str, hint: str
) -> None:
    told = problem(write(text))
    assert told.key == key
    assert message in told.message
    assert hint in told.hint


def test_nothing_is_reported_because_a_wrong_table_is_missing(write: Write) -> None:
    output = '[[endpoint]]\nname = "a"\nrole = "web"\n'
    assert problem(write(output + ROLE + 'duration = "2h"\n')).key == "role[0].duration"
    assert problem(write(output + ROLE.replace("[[role]]", "[role]"))).key == "role"


def test_endpoints_and_roles_add_up_over_all_files(write: Write) -> None:
    path = write('[[endpoint]]\nname = "a"\n', b='[[endpoint]]\nname = "b"\nrole = "web"\n', c=ROLE)
    settings = load_settings(path)
    assert [(endpoint.name, endpoint.role) for endpoint in settings.endpoints] == [("a", None), ("b", "web")]
    assert settings.outputs == settings.endpoints


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "toml"
    path.write_bytes(b"\xef\xbb\xbf[service]\r\nfips = true\r\n")
    assert load_settings(path).service.fips
