"""What an operator does to this node with credentials of their own: the one place where boto3's chain is right.

boto3 looks where the operator's other AWS commands look: AWS_* variables, profiles, SSO, the metadata of an instance.
Region, endpoint, proxy and certificates come from rolekeeper's configuration where it names them. As root on the node,
the chain may end at the node's own role, in the file that rolekeeper publishes; the hint says what to do then.
"""

from typing import Any, NoReturn

from rolekeeper.adapters.ssm.answers import presentable
from rolekeeper.adapters.ssm.codes import meaning
from rolekeeper.errors import NodeUnknownError, RefusedError, RolekeeperError, ServiceError, ServiceRefusedError
from rolekeeper.model import Registration
from rolekeeper.settings import ServiceSettings

_HOW = (
    "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and its like, for this command (`sudo --preserve-env=AWS_PROFILE`; root has "
    "a ~/.aws of its own), or use `rolekeeper deregister --as-node`"
)
_PERMISSION = f"use credentials that have the permission ssm:DeregisterManagedInstance: {_HOW}"
_ATTEMPTS = 3


def deregister(node: Registration, settings: ServiceSettings) -> None:
    """DeregisterManagedInstance with the operator's credentials.

    Raises NodeUnknownError when their account has no such node in the region, RefusedError `operator-credentials` when
    there are none, ServiceRefusedError and ServiceError.
    """
    import boto3.session  # noqa: PLC0415 - no other command needs it
    from botocore import exceptions  # noqa: PLC0415

    action = f"Cannot deregister {node.node_id} in {node.region}"
    try:
        _client(boto3.session.Session(), node.region, settings).deregister_managed_instance(InstanceId=node.node_id)
    except exceptions.ClientError as error:
        _refuse(action, error.response)
    except (exceptions.HTTPClientError, exceptions.ConnectionError) as error:
        hint = "check the network, service.endpoint_url, service.proxy_url, service.ca_bundle and HTTPS_PROXY"
        raise ServiceError("unreachable", f"{action}: {presentable(str(error), ())}", hint) from None
    except (exceptions.BotoCoreError, ValueError, OSError) as error:  # what ~/.aws and variables may be
        raise RefusedError("operator-credentials", f"{action}: {presentable(str(error), ())}", _HOW) from None


def _client(session: Any, region: str, settings: ServiceSettings) -> Any:
    from botocore.config import Config  # noqa: PLC0415

    config = Config(
        connect_timeout=settings.connect_timeout.total_seconds(),
        read_timeout=settings.read_timeout.total_seconds(),
        retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
        proxies=dict.fromkeys(("http", "https"), settings.proxy_url) if settings.proxy_url else None,
        use_fips_endpoint=settings.fips or None,
        use_dualstack_endpoint=settings.dual_stack or None,
    )
    return session.client("ssm", region, endpoint_url=settings.endpoint_url, verify=settings.ca_bundle, config=config)


def _refuse(action: str, response: Any) -> NoReturn:
    """Raise what an answer of AWS means; it may be STS's, in the operator's chain."""
    fault, metadata = response.get("Error", {}), response.get("ResponseMetadata", {})
    code, request_id = str(fault.get("Code", "")), metadata.get("RequestId")
    text = f"{action}: {code}: {presentable(str(fault.get('Message', '')), ())}"
    error: RolekeeperError
    found = meaning(code, int(metadata.get("HTTPStatusCode", 400)))
    if found.error in (ServiceError, NodeUnknownError):
        error = found.error(found.code or code, text, found.hint, request_id)
    else:
        error = ServiceRefusedError(code, text, _PERMISSION, request_id)
    raise error from None
