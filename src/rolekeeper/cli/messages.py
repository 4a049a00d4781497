"""Messages to the person at the command line, past Python's streams: no closed stream may change an exit code.

contextlib is not imported here, because its import would be half of what `endpoint` adds to the interpreter's start.
"""

import os


def say(message: str, hint: str = "", *, code: str = "") -> None:
    """Write a message to standard error, that of an error with its code; a closed or full one changes nothing else."""
    text = f"rolekeeper: {message}" + (f" [{code}]\n" if code else "\n") + (f"  hint: {hint}\n" if hint else "")
    try:
        os.write(2, text.encode(errors="backslashreplace"))
    except OSError:
        return


def open_standard_streams() -> None:
    """Put something behind a standard stream that is closed, so that no file opened later takes its number.

    Standard output stays unwritable, as it was: `credential-process` reports that.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            _open_null(flags)


def _open_null(flags: int) -> None:
    try:
        os.open(os.devnull, flags)
    except OSError:
        return
