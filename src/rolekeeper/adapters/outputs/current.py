"""What an output holds at this moment, for commands that any user may run: read without locks, and nothing is made."""

from rolekeeper.adapters.files.replace import read_file
from rolekeeper.adapters.outputs.accounts import user_number
from rolekeeper.adapters.outputs.endpoint import EndpointDocuments
from rolekeeper.adapters.outputs.processfile import PROFILE, points_to_it
from rolekeeper.adapters.outputs.publishedfile import LARGEST_FILE
from rolekeeper.core import credentialsfile, processfile
from rolekeeper.errors import OutputError
from rolekeeper.model import OutputContents
from rolekeeper.settings import Endpoint, FileFormat, Output
from rolekeeper.values import replace


def contents(output: Output, runtime_directory: str) -> OutputContents:
    """What programs find there; OSError or OutputError when that cannot be read, PermissionError by this user."""
    if isinstance(output, Endpoint):
        return _endpoint(output, runtime_directory)
    owner = user_number(output.owner, output.path)
    data = read_file(output.path, LARGEST_FILE, owner)
    if data is None:
        return OutputContents()
    if output.format is FileFormat.SHARED:
        text = credentialsfile.decode(data, where=output.path)
        return credentialsfile.contents(credentialsfile.read_profile(text, output.profile, where=output.path) or {})
    found = processfile.contents(data, where=output.path)
    beside = read_file(f"{output.path}{PROFILE}", LARGEST_FILE, owner) or b""
    return replace(found, is_complete=found.is_complete and points_to_it(output, beside))


def _endpoint(output: Endpoint, runtime_directory: str) -> OutputContents:
    try:
        return EndpointDocuments(runtime_directory).look(output)
    except OutputError as error:
        if isinstance(error.__cause__, PermissionError):
            raise error.__cause__ from None
        raise
