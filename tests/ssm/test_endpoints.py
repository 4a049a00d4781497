"""Endpoints: the same as botocore's for every region, and the region that a configured one names."""

from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.session import Session
from tests.ssm.conftest import service_settings, ssm_client

from rolekeeper.adapters.ssm.endpoints import partitions, region_of, resolve
from rolekeeper.errors import RolekeeperError, ServiceRefusedError

ACTION = "Cannot try"
REGIONS = [region for one in partitions() for region in one["regions"] if "global" not in region]
FUTURE = [
    "mars-north-7",
    "eu-moon-9",
    "us-gov-north-3",
    "cn-south-9",
    "us-iso-south-4",
    "eu-isoe-east-2",
    "eusc-de-w-3",
]
VARIANTS = [{"fips": fips, "dual_stack": dual} for fips in (False, True) for dual in (False, True)]


def botocores(session: Session, service: str, region: str, *, fips: bool, dual_stack: bool) -> str | None:
    config = Config(use_fips_endpoint=fips, use_dualstack_endpoint=dual_stack, signature_version="v4")
    try:
        client = session.create_client(
            service, region, aws_access_key_id="x", aws_secret_access_key="x", config=config, verify=False
        )
        operation = client.meta.service_model.operation_names[0]
        url: str = client._ruleset_resolver.construct_endpoint(
            operation_model=client.meta.service_model.operation_model(operation), call_args={}, request_context={}
        ).url
    except BotoCoreError:
        return None
    return url


def ours(service: str, region: str, variant: dict[str, bool]) -> str | None:
    try:
        endpoint = resolve(service, ACTION, region, service_settings(None, **variant))
    except ServiceRefusedError as refused:
        return (
            None if refused.code == "endpoint-not-available" and "service.dual_stack" in refused.hint else str(refused)
        )
    return f"{endpoint.scheme}://{endpoint.netloc}" if endpoint.region == region else endpoint.region


@pytest.fixture(scope="module")
def session() -> Session:
    return Session()


@pytest.mark.parametrize("service", ["ssm", "sts"])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_region_has_the_endpoint_that_botocore_gives_it(
    service: str, variant: dict[str, bool], session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    wrong = {}
    for region in [*REGIONS, *FUTURE]:
        pair = ours(service, region, variant), botocores(session, service, region, **variant)
        if pair[0] != pair[1]:
            wrong[region] = pair
    assert wrong == {}


OF_AWS = {
    "ssm.eu-central-1.amazonaws.com": "eu-central-1",
    "ssm-fips.us-east-1.amazonaws.com": "us-east-1",
    "ssm.us-west-2.api.aws": "us-west-2",
    "ssm-fips.us-gov-west-1.api.aws.": "us-gov-west-1",
    "ssm.cn-north-1.amazonaws.com.cn": "cn-north-1",
    "ssm.us-iso-east-1.c2s.ic.gov": "us-iso-east-1",
    "vpce-0a1b2c3d-x9.ssm.eu-west-1.vpce.amazonaws.com": "eu-west-1",
    "vpce-0a1b2c3d-x9-eu-west-1a.ssm.eu-west-1.vpce.amazonaws.com": "eu-west-1",
}
OTHERS = ["127.0.0.1", "ssm.example", "ssm.eu-central-1.internal.example", "ssm.amazonaws.com", "ec2.eu-west-1.api.aws"]


@pytest.mark.parametrize(("host", "region"), [*OF_AWS.items(), *((host, "") for host in OTHERS)])
def test_an_endpoint_of_aws_names_its_region_and_no_other_does(host: str, region: str) -> None:
    assert region_of("ssm", host) == region


@pytest.mark.parametrize("host", OF_AWS)
def test_a_region_that_is_not_the_endpoints_is_refused_before_the_activation_is_used(host: str, node: Any) -> None:
    with pytest.raises(ServiceRefusedError) as caught:
        ssm_client(f"https://{host}").register("ap-south-1", "id", "code", "fingerprint", node.key)
    assert caught.value.code == "region-mismatch"
    assert f"the node's region is ap-south-1, and the endpoint is of {OF_AWS[host]}" in caught.value.message
    assert f"register in {OF_AWS[host]}" in caught.value.hint
    assert resolve("ssm", ACTION, OF_AWS[host], service_settings(f"https://{host}")).region == OF_AWS[host]


def test_an_endpoint_of_sts_is_signed_for_in_its_own_region() -> None:
    settings = service_settings(None, sts_endpoint_url="https://vpce-1-x.sts.eu-west-1.vpce.amazonaws.com")
    assert resolve("sts", ACTION, "eu-central-1", settings).region == "eu-west-1"
    assert resolve("sts", ACTION, "eu-central-1", service_settings(None)).netloc == "sts.eu-central-1.amazonaws.com"


@pytest.mark.parametrize(
    ("url", "netloc", "path"),
    [
        ("https://HOST.example", "host.example", "/"),
        ("https://host.example:443/", "host.example", "/"),
        ("http://host.example:443/a", "host.example:443", "/a"),
        ("http://[::1]:80", "[::1]", "/"),
        ("https://[::1]:8443", "[::1]:8443", "/"),
    ],
)
def test_a_configured_url_becomes_the_host_header_that_botocore_sends(url: str, netloc: str, path: str) -> None:
    endpoint = resolve("ssm", ACTION, "us-east-1", service_settings(url))
    assert (endpoint.netloc, endpoint.path, endpoint.setting) == (netloc, path, "service.endpoint_url")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "http://",
        "https://a b/",
        "ftp://a",
        "http://a:0",
        "http://a:99999",
        "http://-a",
        f"http://{'a' * 64}",
    ],
)
def test_an_endpoint_that_is_no_url_is_named_by_its_key(url: str) -> None:
    for service, changes in (("ssm", {"endpoint_url": url}), ("sts", {"sts_endpoint_url": url})):
        with pytest.raises(RolekeeperError) as caught:
            resolve(service, ACTION, "us-east-1", service_settings(**{"endpoint_url": None, **changes}))
        assert caught.value.code == "endpoint-not-available"
        assert f"service.{next(iter(changes))} is not" in caught.value.message


@pytest.mark.parametrize(
    "region",
    [
        "",
        "us east 1",
        "us-east",
        "US-EAST-1",
        "us-east-1/",
        "evil.example",
        "us-east-1\n",
        "fips-us-east-1",
        "aws-global",
    ],
)
def test_what_is_no_region_is_refused(region: str) -> None:
    with pytest.raises(ServiceRefusedError) as caught:
        resolve("ssm", ACTION, region, service_settings("http://127.0.0.1:9"))
    assert caught.value.code == "region-unknown"
