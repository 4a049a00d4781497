"""Messages to the person at the command line, past Python's streams: no closed stream may change an exit code.

Every command loads this module. It imports next to nothing: `credential-process` and `endpoint` start like a bare
interpreter, and contextlib alone would be half of what `endpoint` adds to that.
"""

import os

COREDUMP_FILTER = "/proc/self/coredump_filter"

LIBRARY_HINT = (
    "while the system is being upgraded, try again; otherwise free memory or raise its limit (ulimit -v, MemoryMax=), "
    "or reinstall rolekeeper"
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def say(message: str, hint: str = "", *, code: str = "") -> None:
    """Write a message to standard error, that of an error with its code; a closed or full one changes nothing else."""
    text = f"rolekeeper: {message}" + (f" [{code}]\n" if code else "\n") + (f"  hint: {hint}\n" if hint else "")
    try:
        os.write(2, text.encode(errors="backslashreplace"))
    except OSError:
        return


def guarded(run: "Callable[[], int]", print_error: "Callable[[dict[str, str]], None] | None" = None) -> int:
    """The exit code of `run`; an error becomes a message, and a document for `print_error`."""
    from rolekeeper.errors import InputOutputError, RolekeeperError

    try:
        return run()
    except KeyboardInterrupt:
        return 130  # as a shell says it
    except OSError as failed:
        return failed_output(failed, 0)
    except RolekeeperError as failed:
        error = failed
    except (ImportError, MemoryError) as failed:  # a library that is gone, or no memory to load it
        what = f"Cannot run: {str(failed) or 'out of memory'}"
        error = InputOutputError("library-unusable", what, LIBRARY_HINT)
    say(error.message, error.hint, code=error.code)
    if print_error is not None:
        print_error({"code": error.code, "message": error.message, "hint": error.hint})
    return error.exit_code


def failed_output(error: OSError, exit_code: int) -> int:
    """The exit code after an error of printing, or, with a file name, of what Python itself opens; ours are caught."""
    from rolekeeper.errors import InputOutputError

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else the interpreter's end tries again, and complains
    if isinstance(error, BrokenPipeError):  # the reader of our output has seen enough, or has gone
        return exit_code
    what = f"use {error.filename}" if error.filename else "write to standard output"
    say(f"Cannot {what}: {error.strerror}")
    return InputOutputError.exit_code


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


def keep_out_of_cores() -> None:
    """No core dump holds a token, nor one that is piped to a program, to which the limit does not apply (core(5)).

    For commands that have no time for what adapters/process.py does beside that, which takes ctypes.
    """
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        descriptor = os.open(COREDUMP_FILTER, os.O_WRONLY)
        os.write(descriptor, b"0")
        os.close(descriptor)
    except OSError:  # a kernel that writes no cores has none
        return
