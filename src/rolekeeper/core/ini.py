"""A credentials file as lines, seen exactly as botocore's parser (configparser.RawConfigParser) sees it.

The rules (docs/protocol.md, section 6; a test holds them against botocore itself):
- a line ends at LF, CR LF or CR and nowhere else; indentation and blanks are whatever `str.strip` takes away;
- a line whose first visible character is # or ; is a comment, however far it is indented; there are no other comments;
- a line indented deeper than the option before it continues that option's value, even when it looks like a header;
- blank lines and comments end no value; blank lines inside a value belong to it;
- `[name]` is a header, blanks within the brackets included; what follows the last bracket is ignored;
- every other line is an option: name up to the first = or :, without regard to case;
- a section or an option may stand once only, except that DEFAULT, whose options every section inherits, may come again.
One rule is ours: a key has at most 128 characters. The time of configparser grows with the square of the blanks in it.

Imports next to nothing: `credential-process` reads its file with this module and must start like a bare interpreter.
"""

from io import StringIO

BLANK, COMMENT, HEADER, OPTION, CONTINUATION = "blank", "comment", "header", "option", "continuation"
INHERITED_SECTION = "DEFAULT"

_LONGEST_KEY = 128  # characters
_LONGEST_SHOWN = 40  # characters of a name from the file in a message


class UnparsableError(ValueError):
    """The file is not what SDKs can read; `code` and `reason` say why, without quoting a value."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Line:
    """One line: what it is, the section and the option (lower case) it belongs to, its text and its newline."""

    __slots__ = ("body", "ending", "key", "kind", "section")

    def __init__(self, kind: str, section: str | None, key: str | None, body: str, ending: str) -> None:
        self.kind = kind
        self.section = section
        self.key = key
        self.body = body
        self.ending = ending

    @property
    def indentation(self) -> str:
        """The blanks before the first visible character."""
        return self.body[: indent_width(self.body)]


def indent_width(body: str) -> int:
    """How many characters the line is indented by."""
    return len(body) - len(body.lstrip())


def split_lines(text: str) -> list[tuple[str, str]]:
    """Each line's text and its newline, which is empty only at the end of a file that lacks its last one."""
    if "\r" not in text:
        *ended, last = text.split("\n")
        return [*((body, "\n") for body in ended), *([(last, "")] if last else [])]
    lines = []
    for line in StringIO(text, newline=""):
        body = line.rstrip("\r\n")
        lines.append((body, line[len(body) :]))
    return lines


def find_delimiter(body: str) -> int:
    """Where the first = or : of an option's line is; -1 when there is none."""
    places = [place for place in (body.find("="), body.find(":")) if place >= 0]
    return min(places, default=-1)


def scan(text: str) -> list[Line]:
    """Every line of the file, classified; raises UnparsableError where botocore would not read the file."""
    lines: list[Line] = []
    seen: set[tuple[str, str]] = set()
    section = key = None
    level = 0
    for number, (body, ending) in enumerate(split_lines(text), start=1):
        stripped = body.strip()
        if not stripped:
            kind = BLANK
        elif stripped[0] in "#;":
            kind = COMMENT
        elif key is not None and indent_width(body) > level:
            kind = CONTINUATION
        else:
            level = indent_width(body)
            kind = HEADER if _is_header(stripped) else OPTION
            if kind == HEADER:
                section, key = stripped[1 : stripped.rfind("]")], None
            else:
                key = _option(section, body, number)
            _note(seen, (section or "", key or ""), number)
        lines.append(Line(kind, section, key, body, ending))
    return lines


def _is_header(stripped: str) -> bool:
    return stripped[0] == "[" and stripped.rfind("]") > 1


def _option(section: str | None, body: str, number: int) -> str:
    if section is None:
        raise UnparsableError("unparsable-file", f"line {number} is before the first [section]")
    name = body[: max(find_delimiter(body), 0)].strip().lower()
    if not name:
        raise UnparsableError("unparsable-file", f"line {number} is no `key = value`")
    if len(name) > _LONGEST_KEY:
        raise UnparsableError("unparsable-file", f"line {number} has a key of more than {_LONGEST_KEY} characters")
    return name


def _note(seen: set[tuple[str, str]], what: tuple[str, str], number: int) -> None:
    section, key = what
    if what in seen and key:
        raise UnparsableError(
            "duplicate-key", f"line {number} repeats `{shown(key)}` of the profile [{shown(section)}]"
        )
    if what in seen and section != INHERITED_SECTION:
        raise UnparsableError("duplicate-section", f"line {number} repeats the profile [{shown(section)}]")
    seen.add(what)


def shown(name: str) -> str:
    """A name from the file, as much of it as a message may hold."""
    return name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}..."


def profile_values(lines: list[Line], profile: str) -> dict[str, str] | None:
    """The profile's own options as botocore reads them; None when there is no such section."""
    mine = [line for line in lines if line.section == profile]
    if not mine:
        return None
    parts: dict[str, list[str]] = {}
    for line in mine:
        if line.kind == OPTION and line.key is not None:
            parts[line.key] = [line.body[find_delimiter(line.body) + 1 :].strip()]
        elif line.kind in (CONTINUATION, BLANK) and line.key is not None:
            parts[line.key].append(line.body.strip())
    return {key: "\n".join(values).rstrip() for key, values in parts.items()}
