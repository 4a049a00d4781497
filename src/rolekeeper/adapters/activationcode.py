"""The activation code, from a file, which may be the systemd credential `activation-code`."""

import os

from rolekeeper.errors import InputOutputError

CREDENTIAL = "activation-code"  # LoadCredential= in systemd/rolekeeper.service
LONGEST = 4096  # bytes that are read for an activation code


def credential(directory: str | None) -> str | None:
    """Where systemd has put the credential, if it has; `directory` is CREDENTIALS_DIRECTORY."""
    path = os.path.join(directory, CREDENTIAL) if directory else None
    return path if path is not None and os.path.exists(path) else None


def read(path: str, name: str) -> str:
    """The activation code in a file, without the line's end; raises InputOutputError, which calls the file `name`."""
    try:
        with open(path, "rb") as file:
            code = file.read(LONGEST).decode("utf-8-sig").strip()
            code.encode("ascii")
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
        raise InputOutputError(
            "activation-code-unreadable",
            f"Cannot read the activation code from {name}: {why}",
            "make the file readable for the user that runs rolekeeper, and for no other",
        ) from error
    if not code:
        raise InputOutputError(
            "activation-code-empty",
            f"Cannot read the activation code from {name}: the file is empty",
            "write the code that `aws ssm create-activation` printed into it",
        )
    return code
