"""A botocore client for the hybrid operations, and the node key's signature as one of its auth types.

The rules (docs/protocol.md, sections 2 and 3):

1. The model is ours, named `ssm` so that botocore's endpoint rules for ssm resolve beside it; those and the partitions
   come from the installed botocore. There is no other place that data is looked for.
2. The client is put together from its parts rather than by a botocore Session: a Session reads AWS_* variables, ~/.aws
   and plugins, and nothing of these may reach a root daemon's own client. What is not handed over here does not exist.
3. The signature is that of Signature Version 4 in all but the last step, signed anew for every request, at the time
   that the credentials tell.
4. botocore's and urllib3's logs are off, whatever the root logger does: they hold requests and answers.
"""

import base64
import logging
import os
from collections.abc import Callable
from datetime import datetime
from typing import Any

import botocore
from botocore.auth import AUTH_TYPE_MAPS, SigV4Auth
from botocore.client import ClientCreator
from botocore.config import Config
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConfigValueStore, ConstantProvider
from botocore.errorfactory import ClientExceptionsFactory
from botocore.hooks import HierarchicalEmitter
from botocore.loaders import Loader
from botocore.parsers import ResponseParserFactory
from botocore.regions import EndpointResolver

from rolekeeper.adapters.ssm.nodekey import sign
from rolekeeper.model import NodeKey, ServiceSettings

AUTH_TYPE = "rolekeeper-node-key"
_SIGNED_HEADERS = frozenset({"content-type", "host", "x-amz-date", "x-amz-target"})
_API_VERSION = "2014-11-06"
_OUR_DATA = os.path.join(os.path.dirname(__file__), "models")
_BOTOCORE_DATA = os.path.join(botocore.BOTOCORE_ROOT, "data")
_NO_ENDPOINTS = {"version": 3, "partitions": []}


class NodeCredentials:
    """What botocore takes for credentials: the node id as access key id, and the node key instead of a secret."""

    token = None

    def __init__(self, node_id: str, key: NodeKey, signing_time: Callable[[], datetime]) -> None:
        self.access_key = node_id
        self.key = key
        self.signing_time = signing_time

    def get_frozen_credentials(self) -> "NodeCredentials":
        """These; they never change."""
        return self

    def get_deferred_property(self, _name: str) -> Callable[[], None]:
        """Nothing: an account id, which botocore asks for, is not known."""
        return lambda: None


class NodeKeyAuth(SigV4Auth):  # type: ignore[misc] # botocore ships no types
    """Signature Version 4 with an RSA signature (docs/protocol.md, section 3)."""

    def add_auth(self, request: Any) -> None:
        """Sign `request` at the credentials' time; a signature that it carries already is replaced."""
        request.context["timestamp"] = self.credentials.signing_time().strftime("%Y%m%dT%H%M%SZ")
        self._modify_request_before_signing(request)
        text = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(text, request))

    def headers_to_sign(self, request: Any) -> Any:
        """Those that SSM Agent signs, and no other that botocore may come to send."""
        headers = super().headers_to_sign(request)
        for name in set(headers.keys()) - _SIGNED_HEADERS:
            del headers[name]
        return headers

    def signature(self, string_to_sign: str, request: Any) -> str:  # noqa: ARG002 - botocore's signature
        """Base64 of the RSA signature over the string to sign."""
        return base64.b64encode(sign(self.credentials.key, string_to_sign.encode("utf-8"))).decode("ascii")


class ModelLoader:
    """Finds our model, then botocore's data, and looks nowhere else.

    botocore's own Loader first lists all its 400 services to find one; the name and version are known here.
    """

    def __init__(self) -> None:
        self._loader = Loader(
            extra_search_paths=[_OUR_DATA, _BOTOCORE_DATA],
            include_default_search_paths=False,
            include_default_extras=False,
        )

    def load_service_model(self, service_name: str, type_name: str, api_version: str | None = None) -> Any:
        """A service's model or endpoint rule set."""
        return self.load_data(f"{service_name}/{api_version or _API_VERSION}/{type_name}")

    def load_data(self, name: str) -> Any:
        """Any other data file, by its path without the extension."""
        return self._loader.load_data(name)


def silence_libraries() -> None:
    """Keep botocore and urllib3 out of every log: theirs tell tokens and activation codes at debug level."""
    for name in ("botocore", "urllib3"):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)


def new_client(
    loader: ModelLoader,
    region: str,
    settings: ServiceSettings,
    version: str,
    credentials: NodeCredentials | None,
    send: Callable[..., Any],
) -> Any:
    """A client whose requests go out through `send(request, **ignored)`, which returns an AWSResponse.

    Without `credentials` it sends unsigned. EndpointVariantError when the region has no FIPS or dual-stack endpoint.
    """
    AUTH_TYPE_MAPS[AUTH_TYPE] = NodeKeyAuth
    emitter = HierarchicalEmitter()
    emitter.register("before-send.ssm", send)
    endpoints = loader.load_data("endpoints") if settings.endpoint_url is None else _NO_ENDPOINTS
    creator = ClientCreator(
        loader,
        EndpointResolver(endpoints, uses_builtin_data=True),
        user_agent=f"rolekeeper/{version}",
        event_emitter=emitter,
        retry_handler_factory=None,
        retry_config_translator=None,
        response_parser_factory=ResponseParserFactory(),
        exceptions_factory=ClientExceptionsFactory(),
        config_store=_defaults(),
    )
    return creator.create_client(
        "ssm",
        region,
        endpoint_url=settings.endpoint_url,
        verify=True,
        credentials=credentials,
        scoped_config={},
        client_config=_config(settings, version, signed=credentials is not None),
        api_version=_API_VERSION,
    )


def _defaults() -> ConfigValueStore:
    """The default that botocore has for every variable; the environment and files have no say in it."""
    variables = BOTOCORE_DEFAUT_SESSION_VARIABLES.items()
    return ConfigValueStore({name: ConstantProvider(default) for name, (_, _, default, _) in variables})


def _config(settings: ServiceSettings, version: str, *, signed: bool) -> Config:
    """What we want otherwise than botocore's defaults. Its own HTTP session is never used: see Wire."""
    return Config(
        signature_version=AUTH_TYPE if signed else botocore.UNSIGNED,
        user_agent=f"rolekeeper/{version}",
        use_fips_endpoint=settings.fips,
        use_dualstack_endpoint=settings.dual_stack,
        ignore_configured_endpoint_urls=True,
        retries={"total_max_attempts": 1, "mode": "standard"},
        proxies={},
        parameter_validation=False,  # its complaints quote the values
        disable_request_compression=True,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        account_id_endpoint_mode="disabled",
        inject_host_prefix=False,
        tcp_keepalive=False,
    )
