"""What can go wrong, as values that a person and a program can both use.

Every error has a kebab-case `code` for programs, a `message` that says in one line what could not be done and where,
and a `hint` that says what to do about it; `request_id` is the service's name for the request, if there was one. The
class says which exit code a command ends with (sysexits.h); nothing else in rolekeeper maps errors to exit codes. No
error text ever holds a key, an activation code or a token.
"""

from typing import ClassVar

from rolekeeper.values import Value


def one_line(text: str) -> str:
    """`text` with line breaks and control characters of terminals escaped, because names may hold anything."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


class RolekeeperError(Exception):
    """An error that a user can understand and act on; never shown as a traceback."""

    exit_code: ClassVar[int] = 70  # EX_SOFTWARE; every subclass names its own

    def __init__(self, code: str, message: str, hint: str = "", request_id: str | None = None) -> None:
        self.code = code
        self.message = one_line(message)
        super().__init__(self.message)
        self.hint = hint
        self.request_id = request_id


class UsageError(RolekeeperError):
    """The command line is wrong (64, EX_USAGE)."""

    exit_code = 64


class UnavailableError(RolekeeperError):
    """The service, or the daemon, did not do what was asked; a later try may succeed (69, EX_UNAVAILABLE)."""

    exit_code = 69


class InputOutputError(RolekeeperError):
    """A file, the vault or the hardware could not be read or written (74, EX_IOERR)."""

    exit_code = 74


class VaultError(InputOutputError):
    """The vault cannot be read or written; nothing in it was changed."""


class OutputError(InputOutputError):
    """A credentials file cannot be written; what was in it is still there."""


class HardwareError(InputOutputError):
    """The hardware cannot be judged, because components of its hash cannot be read."""


class RefusedError(RolekeeperError):
    """The request was understood and refused (77, EX_NOPERM)."""

    exit_code = 77


class UnregisteredError(RefusedError):
    """There is no registration in the vault."""


class Problem(Value):
    """One thing that is wrong in a configuration file.

    `where` is the file, `key` the key path in it (`credentials_file[0].path`), empty when the file as a whole is wrong.
    """

    where: str
    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.where}: {self.key}" if self.key else self.where
        return f"{place}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class ConfigurationError(RolekeeperError):
    """The configuration is wrong in one or more places (78, EX_CONFIG); all of them are in `problems`."""

    exit_code = 78

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(
            "configuration-invalid", "", "correct the places named above; `rolekeeper check` tries the result"
        )
        self.message = "\n".join(one_line(str(problem)) for problem in problems)
        self.args = (self.message,)
        self.problems = problems


class ServiceError(UnavailableError):
    """No usable answer came from the service: network, 5xx, throttling, garbage (69)."""


class TrustStoreError(ServiceError):
    """No request went out, because the certificates to trust cannot be read (74)."""

    exit_code = InputOutputError.exit_code
    CODE: ClassVar[str] = "ca-bundle-unreadable"


class ServiceRefusedError(RefusedError):
    """The service understood the request and refused it; `code` is the service's own code (77)."""


class RoleRefusedError(ServiceRefusedError):
    """A role was refused, or cannot be requested as it is configured; the node and other roles are not affected."""


class RolePassedOverError(RoleRefusedError):
    """An earlier attempt was refused the role, and it is not due to be requested again."""

    CODE = "role-passed-over"

    def __init__(self, role: str) -> None:
        super().__init__(self.CODE, f"The role {role} was refused, and is not due to be requested again", "")


class SignatureRefusedError(ServiceRefusedError):
    """The service does not accept the node key's signature, or does not know the key."""


class FingerprintRefusedError(ServiceRefusedError):
    """MachineFingerprintDoesNotMatch: the service expects another fingerprint of this node."""


class NodeUnknownError(ServiceRefusedError):
    """InvalidInstanceId: the service does not know this node, for instance because it was deregistered."""
