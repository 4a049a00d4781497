"""Messages to whoever started the command, past Python's streams: an exit code must not depend on who listens."""

import os
from contextlib import suppress


def say(message: str, hint: str = "", *, code: str = "") -> None:
    """Write a message to standard error, that of an error with its code; a closed or full one changes nothing else."""
    text = f"rolekeeper: {message}" + (f" [{code}]\n" if code else "\n") + (f"  hint: {hint}\n" if hint else "")
    with suppress(OSError):
        os.write(2, text.encode(errors="backslashreplace"))


def open_standard_streams() -> None:
    """Put something behind a standard stream that was closed, else the next file that is opened would be it.

    Standard output cannot be written to then, as before: `credential-process` tells that, for nobody starts it in vain.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, flags)
