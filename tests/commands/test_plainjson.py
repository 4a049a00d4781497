"""The JSON of `credential-process` is that of `json`, which it does without for its start."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.cli.plainjson import dumps, loads

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES, st.sampled_from([None, 2]), st.sampled_from(["", " \n", "\t\r"]))
def test_a_document_reads_as_json_reads_it(value: object, indent: int | None, blanks: str) -> None:
    assert loads(blanks + json.dumps(value, indent=indent) + blanks) == value


@given(st.text(alphabet='{}[]",:0123456789eE+-. \\utrfalsn\ufeff\x00'))
def test_what_json_refuses_is_refused(text: str) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - json's own words
            loads(text)
    else:
        assert repr(loads(text)) == repr(expected)


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(RecursionError):
        loads("[" * 200_000)


@given(st.dictionaries(st.text(), st.text() | st.integers()))
def test_an_object_is_written_as_json_writes_it(members: dict[str, str | int]) -> None:
    assert dumps(members) == json.dumps(members)


def test_an_interpreter_without_the_extension_uses_json() -> None:
    program = (
        "import sys; sys.modules['_json'] = None\n"
        "from rolekeeper.cli.plainjson import dumps, loads\n"
        """print(loads(' {"a": [1, "é"]} '), dumps({"a": "é", "b": 1}))"""
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == """{'a': [1, 'é']} {"a": "\\u00e9", "b": 1}\n"""
