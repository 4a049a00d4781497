"""What one key may hold, tried one value at a time through the file."""

from pathlib import Path

import pytest
from botocore.utils import is_valid_endpoint_url, is_valid_ipv6_endpoint_url
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.config.load import load_settings
from rolekeeper.errors import ConfigurationError, Problem

WRONG = [
    # key and value as TOML, a part of the message, a part of the hint
    ("service", "fips = 1", "must be true or false, not an integer", "without quotes"),
    ("service", 'dual_stack = "yes"', "must be true or false, not a string", "without quotes"),
    ("service", "connect_timeout = 10", "without a unit", 'write "10s"'),
    ("service", "connect_timeout = 1.5", "without a unit", '"90s"'),
    ("service", 'connect_timeout = "10"', "'10' is not a duration", 'write "10s"'),
    ("service", "connect_timeout = true", "must be a string, not a boolean", '"90s"'),
    ("service", 'connect_timeout = "0s"', "is 0s", "between 1ms and 1h"),
    ("service", 'read_timeout = "2h"', "is 2h", "between 1ms and 1h"),
    ("service", 'read_timeout = "-1s"', "is not a duration", '"90s"'),
    ("daemon", 'attempt_timeout = "200ms"', "is 200ms", "between 1s and 1h"),
    ("daemon", 'log_level = "chatty"', "must be one of", "in quotes"),
    ("daemon", 'runtime_directory = "run"', "is not an absolute path", "begin it with /"),
    ("vault", 'directory = "/a/../b"', '".."', "without detours"),
    ("vault", 'directory = "//"', "is the root directory", "below it"),
    ("vault", 'directory = "/a\\u0000b"', "cannot be printed", ""),
    ("vault", "directory = ['/a']", "must be a string, not an array", ""),
    ("vault", "directory = 2026-11-23", "must be a string, not a date or time", ""),
    ("refresh", "at = 0.61", "must be at most 0.6", ""),
    ("refresh", "at = 0.05", "must be at least 0.1", ""),
    ("refresh", "at = nan", "must be at", ""),
    ("refresh", "at = true", "must be a number, not a boolean", ""),
    ("hibernation", 'first_probe = "8d"', "is 8d", "and 7d"),
    ("vault", 'seal = "tpm"', "must be one of", "in quotes"),
    ("health", 'report_every = "4min"', "is 4min", "between 5min and"),
    ("health", "report_every = 5", "without a unit", 'write "5s"'),
    ("service", 'sts_endpoint_url = "sts.local"', "is not an http or https URL", "https://"),
    ("key", "rotate_after = 30", "without a unit", 'write "30s"'),
    ("key", 'rotate_after = "always"', "is not a duration", ""),
    ("key", f"rotate_after = 0x{'f' * 6000}", "without a unit", '"90s"'),
    ("node", 'region = "frankfurt"', "is not the name of a region", "eu-central-1"),
    ("node", 'region = "fips-us-east-1"', "is not the name of a region", "service.fips"),
    ("node", 'activation_id = "1234"', "is not an activation ID", "create-activation"),
    ("node", 'activation_id = "12345678-1234-1234-1234-1234567890AB"', "is not an activation ID", "create-activation"),
    ("node", 'activation_code_file = "/etc/code/"', "names a directory", "file itself"),
    ("service", 'endpoint_url = "127.0.0.1:8080"', "is not an http or https URL", "https://"),
    ("service", 'endpoint_url = "https://"', "is not an http or https URL", "https://"),
    ("service", 'endpoint_url = "https://h:99999"', "is not a URL", "https://"),
    ("service", 'endpoint_url = "https://[::1"', "is not a URL", "https://"),
    ("service", 'endpoint_url = "https://h/?a=b"', "query", "without ?"),
    ("service", 'endpoint_url = "http://my_emulator:4599"', "has no valid host name", "hyphens"),
    ("service", 'endpoint_url = "https://user@h/"', "user name", "without it"),
    ("service", 'proxy_url = "socks5://h:1"', "is not an http or https URL", ""),
    ("service", 'endpoint_url = "http://h/\\u00e4"', "not ASCII", "xn--"),
    ("service", 'proxy_url = "http://user:p%C3%A4@h:1"', "not ASCII", "user or password"),
    ("service", "proxy_url = 'http://user:pa\\ss@h:1'", "has a backslash", "in a user or password, write %5C"),
    ("service", "endpoint_url = 'http:\\\\h'", "is not an http or https URL", "https://"),
    ("service", "endpoint_url = 'http://h\\path'", "has a backslash", "write /"),
    ("service", 'ca_bundle = "~/ca.pem"', "is not an absolute path", "~"),
]
WRONG_OUTPUTS = [
    ('path = ""', "is not an absolute path", ""),
    ('path = "/root/.aws/"', "names a directory", ""),
    ('profile = ""', "is empty", '"default"'),
    ('profile = "a]b"', "bracket", ""),
    ('profile = "DEFAULT"', "to every profile", '"default", in lower case'),
    ('profile = " a"', "blank", ""),
    ('profile = "a\\nb"', "cannot be printed", ""),
    ("mode = 600", "is a number", 'write "0600", in quotes'),
    ("mode = 0o640", "is a number", '"0640"'),
    (f"mode = 0x{'f' * 6000}", "is a number", '"0600"'),
    ('mode = "rw"', "octal digits", '"0600"'),
    ('mode = "4755"', "octal digits", '"0600"'),
    ('mode = "0602"', "lets everybody write", "take"),
    ('mode = "0060"', "does not let the owner read", '"0600"'),
    ("owner = -1", "is not the number", "name"),
    ("owner = 4294967295", "is not the number", "name"),
    ("owner = 1.0", "not a float", "name"),
    ("group = true", "not a boolean", "name"),
    ('group = "a:b"', "is not the name", "name"),
    ('group = " app"', "is not the name", "name"),
    ('group = "a, b"', "is not the name", "name"),
    ("replace_long_lived_keys = 'no'", "must be true or false", ""),
    ('role = "a/b"', "is not a plain name", "letters"),
    ('format = "json"', "must be one of", "in quotes"),
]
ARN = "arn:aws:iam::123456789012:policy/"
WRONG_ROLES = [
    ("arn", '"arn:aws:iam::123456789012:user/app"', "is not the ARN of a role", "role/app"),
    ("arn", '"arn:aws:sts::123456789012:assumed-role/app/x"', "is not the ARN of a role", "role/app"),
    ("arn", f'"arn:aws:iam::123456789012:role/{"p/" * 1024}a"', "is longer than 2048 characters", ""),
    ("session_name", '"a"', "is not the name of a role session", "2 to 64"),
    ("session_name", '"a b"', "is not the name of a role session", "2 to 64"),
    ("session_name", f'"{"a" * 65}"', "is not the name of a role session", "2 to 64"),
    ("external_id", '"é1"', "is not an external ID", "trust policy"),
    ("duration", '"14min"', "is 14min", "between 15min and 1h"),
    ("duration", '"61min"', "is 1h 1min", "between 15min and 1h"),
    ("policy_file", '"web.json"', "is not an absolute path", "begin it with /"),
    ("policy_arns", '"arn"', "must be an array, not a string", "in brackets"),
    ("policy_arns", str([ARN + str(number) for number in range(11)]), "has more than 10 entries", "remove"),
    ("policy_arns[1]", f'["{ARN}a", "arn:aws:iam::aws:role/a"]', "is not the ARN of a managed policy", "ReadOnly"),
    ("tags", '"a=b"', "must be a table, not a string", '{ name = "value" }'),
    ("tags", "{" + ", ".join(f'k{number} = ""' for number in range(51)) + "}", "has more than 50 entries", ""),
    ("tags.a", "{ a = 1 }", "must be a string, not an integer", "in quotes"),
    ("tags.a", '{ a = "*" }', "has a character that a session tag cannot hold", "letters"),
    ("tags.a", f'{{ a = "{"v" * 257}" }}', "is longer than 256 characters", ""),
    (f"tags.{'k' * 129}", f'{{ {"k" * 129} = "" }}', "is longer than 128 characters", ""),
    ('tags.""', '{ "" = "a" }', "has an empty key", "1 to 128"),
    ('tags."AWS:x"', '{ "AWS:x" = "a" }', "begins with aws:", "another key"),
]
WRONG_NAMES = ["", ".hidden", "..", "a/b", "a b", "ä", "a%2f", "a\\u0000", "a" * 65]


def load(tmp_path: Path, text: str) -> object:
    path = tmp_path / "toml"
    path.write_text(text)
    return load_settings(path)


def problem(tmp_path: Path, text: str) -> Problem:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)
    (only,) = caught.value.problems
    return only


@pytest.mark.parametrize(("table", "line", "message", "hint"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_value_is_told_with_its_key_and_a_remedy(
    tmp_path: Path, table: str, line: str, message: str, hint: str
) -> None:
    told = problem(tmp_path, f"[{table}]\n{line}\n")
    assert told.key == f"{table}.{line.partition(' ')[0]}"
    assert message in told.message
    assert hint in told.hint


@pytest.mark.parametrize(("line", "message", "hint"), WRONG_OUTPUTS, ids=range(len(WRONG_OUTPUTS)))
def test_a_wrong_value_of_an_output_is_told_with_its_place(tmp_path: Path, line: str, message: str, hint: str) -> None:
    told = problem(tmp_path, f'[[credentials_file]]\npath = "/fine"\n[[credentials_file]]\n{line}\n')
    assert told.key == f"credentials_file[1].{line.partition(' ')[0]}"
    assert message in told.message
    assert hint in told.hint


@pytest.mark.parametrize(("key", "value", "message", "hint"), WRONG_ROLES, ids=range(len(WRONG_ROLES)))
def test_a_wrong_value_of_a_role_is_told_with_its_place(
    tmp_path: Path, key: str, value: str, message: str, hint: str
) -> None:
    keys = {"name": '"web"', "arn": '"arn:aws:iam::123456789012:role/web"'}
    keys[key.partition(".")[0].partition("[")[0]] = value
    told = problem(tmp_path, "[[role]]\n" + "".join(f"{name} = {value}\n" for name, value in keys.items()))
    assert told.key == f"role[0].{key}"
    assert message in told.message
    assert hint in told.hint


@pytest.mark.parametrize("name", WRONG_NAMES)
def test_the_name_of_an_endpoint_is_a_plain_file_name(tmp_path: Path, name: str) -> None:
    for right in ("a", "web-1.test_A", "a" * 64):
        load(tmp_path, f'[[endpoint]]\nname = "{right}"\n')
    assert problem(tmp_path, f'[[endpoint]]\nname = "{name}"\n').key == "endpoint[0].name"


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("[servise]\n", "servise", "did you mean service?"),
        ("[service]\nproxy = 1\n", "service.proxy", "did you mean proxy_url?"),
        ("[refresh]\nwhen = 1\n", "refresh.when", "known here: at"),
        ("endpoint_url = 'http://h'\n", "endpoint_url", "it belongs into [service]"),
        ("[vault]\npath = '/x'\n", "vault.path", "it belongs into [[credentials_file]]"),
        ("[[endpoint]]\nname = 'a'\nnane = 'b'\n", "endpoint[0].nane", "did you mean name?"),
        ("[[credentials_file]]\nmodes = ''\n", "credentials_file[0].modes", "did you mean mode?"),
        ('"a b" = 1\n', '"a b"', "known here"),
        ('[service]\n"x\\n\\"y" = 1\n', 'service."x\\n\\"y"', "known here"),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest_known_one(tmp_path: Path, text: str, key: str, hint: str) -> None:
    told = problem(tmp_path, text)
    assert (told.key, told.message) == (key, "is not a known key")
    assert hint in told.hint


@pytest.mark.parametrize(
    ("text", "key", "message", "hint"),
    [
        ("service = 3\n", "service", "must be a table, not an integer", "[service]"),
        ("[credentials_file]\n", "credentials_file", "must be an array of tables, not a table", "[[credentials_file]]"),
        ("credentials_file = 'x'\n", "credentials_file", "must be an array of tables", "[[credentials_file]]"),
        ("credentials_file = [3]\n", "credentials_file[0]", "must be a table", "write [[credentials_file]]"),
        ("[[service]]\n", "service", "must be a table, not an array", "[service]"),
    ],
)
def test_a_table_of_the_wrong_shape_is_told(tmp_path: Path, text: str, key: str, message: str, hint: str) -> None:
    told = problem(tmp_path, text)
    assert told.key == key
    assert message in told.message
    assert hint in told.hint


def test_an_activation_code_in_the_configuration_is_refused_without_showing_it(tmp_path: Path) -> None:
    told = problem(tmp_path, '[node]\nactivation_code = "s3cret"\n')
    assert told.key == "node.activation_code"
    assert "activation_code_file" in told.hint
    assert "s3cret" not in str(told)


@pytest.mark.parametrize("url", ["ftp://user:s3cret@h", "http://user:s3cret@h:99999", "http://user:s3cret@h/?q"])
def test_a_wrong_proxy_url_is_told_without_its_password(tmp_path: Path, url: str) -> None:
    assert "s3cret" not in str(problem(tmp_path, f'[service]\nproxy_url = "{url}"\n'))


@pytest.mark.parametrize(
    "region", ["us-east-1", "us-gov-west-1", "cn-north-1", "us-iso-east-1", "eu-isoe-west-1", "eusc-de-east-1"]
)
def test_regions_of_every_partition_are_known_by_their_form(tmp_path: Path, region: str) -> None:
    load(tmp_path, f'[node]\nregion = "{region}"\n')


@given(st.text("aA0-._é", max_size=8) | st.text("a", min_size=60, max_size=66) | st.sampled_from(["[::1]", "a." * 130]))
def test_an_endpoint_is_taken_when_its_host_is_one_that_a_client_takes(
    tmp_path_factory: pytest.TempPathFactory, host: str
) -> None:
    url = f"http://{host}:4599"
    try:
        load(tmp_path_factory.mktemp("config"), f'[service]\nendpoint_url = "{url}"\n')
        taken = True
    except ConfigurationError:
        taken = False
    assert taken is bool(is_valid_endpoint_url(url) or is_valid_ipv6_endpoint_url(url))


@pytest.mark.parametrize(
    ("written", "owner"), [('"1000"', 1000), ("0", 0), ('"D\\\\domain users"', "D\\domain users"), ('""', None)]
)
def test_an_owner_is_a_name_a_number_or_nobody_in_particular(tmp_path: Path, written: str, owner: object) -> None:
    path = tmp_path / "toml"
    path.write_text(f"[[credentials_file]]\nowner = {written}\n")
    assert load_settings(path).outputs[0].owner == owner
