"""Credentials in a profile of a shared credentials file.

`publishedfile` says how files are replaced, and `core.credentialsfile` how a profile is edited and checked. What is
left for this module is what the profile holds, and what programs make of it: settings in the profile, or in the
`config` file beside it, that SDKs prefer to the keys.
"""

import os
from datetime import timedelta

from rolekeeper.adapters.files.replace import read_file
from rolekeeper.adapters.outputs.publishedfile import SAMPLE, PublishedFiles, SeenFile
from rolekeeper.core import credentialsfile, editcheck
from rolekeeper.core.steps import SeenOutput
from rolekeeper.errors import OutputError
from rolekeeper.model import IssueRecord, OutputProblem, RoleToken
from rolekeeper.settings import CredentialsFile
from rolekeeper.values import replace

_CONFIG = "config"  # beside a file of any name: SDKs read ~/.aws/config beside ~/.aws/credentials


class SharedCredentialsFiles:
    """Looks at and publishes into profiles."""

    def __init__(self, files: PublishedFiles) -> None:
        self._files = files

    def look(self, output: CredentialsFile, longest: timedelta) -> SeenOutput:
        """What the profile holds, and whether it can be published to."""
        seen = self._files.look(output, _Profile(output, SAMPLE), longest)
        if seen.data is None:
            return SeenOutput(output, None, seen.problem)
        try:
            text = credentialsfile.decode(seen.data, where=output.path)
            values = credentialsfile.read_profile(text, output.profile, where=output.path) or {}
        except OutputError as error:  # a file that SDKs cannot read, either
            return SeenOutput(output, None, seen.problem or error)
        contents = replace(
            credentialsfile.contents(values), warning=_outranked(output, values) or _linked(output, seen)
        )
        return SeenOutput(output, contents, seen.problem)

    def publish(self, output: CredentialsFile, token: RoleToken, _issue: IssueRecord, longest: timedelta) -> None:
        """Put the token's credentials into the profile, whole or not at all."""
        self._files.publish(output, _Profile(output, token), longest)

    def withdraw(self, output: CredentialsFile, longest: timedelta) -> None:
        """Remove the expiry from the profile: another agent that takes it over would keep it beside its own keys."""
        content = _WithoutExpiry(output)
        if content.edited(old := self._files.read(output) or b"") != old:
            self._files.publish(output, content, longest)


class _WithoutExpiry:
    """publishedfile.Format of an output's profile without our expiry."""

    def __init__(self, output: CredentialsFile) -> None:
        self._output = output

    def edited(self, old: bytes) -> bytes:
        text = credentialsfile.decode(old, where=self._output.path)
        return credentialsfile.without_expiry(text, self._output.profile, where=self._output.path).encode()

    def holds_only_ours(self, _old: bytes) -> bool:
        return False

    def check(self, _old: bytes, written: bytes) -> None:
        text = credentialsfile.decode(written, where=self._output.path)
        credentialsfile.read_profile(text, self._output.profile, where=self._output.path)


class _Profile:
    """publishedfile.Format of an output's profile that is to hold `token`."""

    def __init__(self, output: CredentialsFile, token: RoleToken) -> None:
        self._output = output
        self._values = credentialsfile.token_values(token)

    def edited(self, old: bytes) -> bytes:
        output = self._output
        return credentialsfile.replace_profile(
            credentialsfile.decode(old, where=output.path),
            output.profile,
            self._values,
            replace_long_lived_keys=output.replace_long_lived_keys,
            where=output.path,
        ).encode()

    def holds_only_ours(self, old: bytes) -> bool:
        text = credentialsfile.decode(old, where=self._output.path)
        return credentialsfile.holds_only(text, self._output.profile, where=self._output.path)

    def check(self, old: bytes, written: bytes) -> None:
        before, after = (credentialsfile.decode(data, where=self._output.path) for data in (old, written))
        editcheck.check_edit(before, after, self._output.profile, self._values, where=self._output.path)


def _outranked(output: CredentialsFile, values: "credentialsfile.Values") -> OutputProblem | None:
    """The warning about settings that SDKs prefer to the keys, in this profile or in that of `config` beside it."""
    for where, settings in ((output.path, values), _config_beside(output)):
        names = credentialsfile.outranking(settings)
        if names:
            return OutputProblem(
                "keys-outranked",
                f"Programs may not use the credentials in {output.path}, profile [{output.profile}]: "
                f"{', '.join(names)} in {where} outrank them",
                "remove these settings from the profile, or publish to a profile of its own",
                is_warning=True,
            )
    return None


def _config_beside(output: CredentialsFile) -> "tuple[str, credentialsfile.Values]":
    path = os.path.join(os.path.dirname(output.path), _CONFIG)
    return path, config_profile(path, output.profile)


def config_profile(path: str, profile: str) -> "credentialsfile.Values":
    """The settings of a profile in a `config` file; none when the file is missing or programs cannot read it."""
    names = ("default", "profile default") if profile == "default" else (f"profile {profile}",)
    try:
        text = credentialsfile.decode(read_file(path) or b"", where=path)
        found = (credentialsfile.read_profile(text, name, where=path) or {} for name in names)
        return {key: value for values in found for key, value in values.items()}
    except (OSError, OutputError):  # it is not ours: that programs cannot read it is for them to say
        return {}


def _linked(output: CredentialsFile, seen: SeenFile) -> OutputProblem | None:
    if seen.links == 1:
        return None
    return OutputProblem(
        "hard-linked",
        f"{output.path} has {seen.links} names (hard links): the others keep the old file at each publication",
        "replace the other names by symbolic links",
        is_warning=True,
    )
