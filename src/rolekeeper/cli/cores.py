"""What a command that holds a token does to itself, where it must start like a bare interpreter."""

import resource
from os import O_WRONLY, close, write
from os import open as open_descriptor

COREDUMP_FILTER = "/proc/self/coredump_filter"


def keep_out_of_cores() -> None:
    """No core dump holds the token, nor one that is piped to a program, to which the limit does not apply (core(5)).

    What process.py does beside the limit would take ctypes.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        descriptor = open_descriptor(COREDUMP_FILTER, O_WRONLY)
        write(descriptor, b"0")
        close(descriptor)
    except OSError:  # a kernel that writes no cores has none
        return
