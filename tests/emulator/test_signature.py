"""The canonical request against AWS's published example, and against botocore's on requests of any shape."""

from datetime import UTC, datetime
from string import ascii_letters, digits
from urllib.parse import quote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.emulator.messages import Request
from rolekeeper.emulator.signature import (
    canonical_request,
    hmac_signature,
    node_signature_matches,
    parse_authorization,
    string_to_sign,
)

EXAMPLE_SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


def test_awss_own_example_has_awss_own_signature() -> None:
    authorization = (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date, Signature=x"
    )
    headers = (
        ("authorization", authorization),
        ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
        ("host", "iam.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
    )
    request = Request("GET", "/?Action=ListUsers&Version=2010-05-08", headers, b"")
    parsed = parse_authorization(request, datetime(2015, 8, 30, 12, 36, tzinfo=UTC))
    text = string_to_sign(parsed, canonical_request(request, parsed.signed_headers))
    signature = hmac_signature(EXAMPLE_SECRET, parsed.scope, text)
    assert signature == "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"


names = st.text(ascii_letters + digits + "-_.~", min_size=1, max_size=8)
values = st.text(max_size=8).map(lambda text: quote(text, safe="-_.~", errors="replace"))
header_values = st.text(ascii_letters + " \t;=,\"'", max_size=20)


@given(
    segments=st.lists(values | st.sampled_from([".", ".."]), max_size=4),
    slash=st.booleans(),
    query=st.dictionaries(names, values, max_size=4),
    note=header_values,
    body=st.binary(max_size=20),
)
def test_botocore_signs_the_same_canonical_request(
    *, segments: list[str], slash: bool, query: dict[str, str], note: str, body: bytes
) -> None:
    path = "/" + "/".join(segments) + ("/" if slash and segments else "")
    target = path + ("?" + "&".join(f"{name}={value}" for name, value in query.items()) if query else "")
    signer = SigV4Auth(Credentials("AKIDEXAMPLE", EXAMPLE_SECRET), "ssm", "us-east-1")
    theirs = AWSRequest("POST", f"http://127.0.0.1{target}", {"X-Note": note}, body)
    theirs.context["timestamp"] = "20261123T161616Z"
    expected = signer.canonical_request(theirs)
    ours = Request("POST", target, (("host", "127.0.0.1"), ("x-note", note)), body)
    assert canonical_request(ours, ["x-note", "host"]) == expected


def test_parameters_of_one_name_are_sorted_by_value_and_encoded_once() -> None:
    request = Request("GET", "/?b=2&b=1&a=%7E%2f&c&=x", (("host", "a"),), b"")
    assert canonical_request(request, ["host"]).split("\n")[2] == "=x&a=~%2F&b=1&b=2&c="


def test_values_of_a_repeated_header_are_joined_in_their_order() -> None:
    request = Request("GET", "/", (("x", " b "), ("host", "a"), ("x", "a  c")), b"")
    assert canonical_request(request, ["x", "host"]).split("\n")[3:5] == ["host:a", "x:b,a c"]


def test_a_key_of_an_unknown_algorithm_verifies_nothing() -> None:
    unknown = "MBgwEwYHKoZIzj0CAQYIKgMEBQYHCAkDAQA="
    assert not node_signature_matches(unknown, "AAAA", "text")
