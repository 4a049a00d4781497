"""`rolekeeper status`: how the running daemon and the credentials are."""

import argparse
from typing import Any

from rolekeeper import compose
from rolekeeper.cli import standing
from rolekeeper.cli.output import print_json, say
from rolekeeper.core import status

EXAMPLE = "rolekeeper status || journalctl -u rolekeeper -n 20"
LINES = (
    ("State", "state"),
    ("Node", "node_id"),
    ("Region", "region"),
    ("Credentials", "freshness"),
    ("Expire", "expires_at"),
    ("Refresh", "refresh_at"),
    ("Next attempt", "next_attempt_at"),
    ("Last success", "last_success_at"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """The usual option; the exit codes are this verb's own."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = (
        f"{parser.epilog}\n\nexit codes:\n  0  fresh credentials\n  1  stale, or backing off with valid credentials\n"
        "  2  expired, absent, or hibernating\n  3  not registered, or no daemon runs\n  78 the configuration is wrong"
    )


def run(options: argparse.Namespace) -> int:
    """Print how things stand."""
    settings = compose.settings(options.config)
    now = standing.read(settings, compose.clock().now())
    if now.pid is None:
        say(f"no daemon runs on {settings.daemon.runtime_directory}", "`systemctl start rolekeeper`")
    if options.json:
        print_json(now.document if now.document is not None else dict.fromkeys(status.FIELDS))
    elif now.document is not None:
        _print(now.document)
    return standing.exit_code(now)


def _print(document: dict[str, Any]) -> None:
    for title, field in LINES:
        if document.get(field) is not None:
            print(f"{title + ':':14}{document[field]}")
    last = document.get("last_outcome")
    if last:
        words = ": ".join(word for word in (last["outcome"], last["code"], last["message"]) if word)
        print(f"{'Last outcome:':14}{words} ({last['at']})")
    for output in document["outputs"]:
        print(f"{'Output:':14}{output['path']} [{output['profile']}], published {output['published_at'] or 'never'}")
    hardware = document.get("fingerprint")
    if hardware:
        counts = f"{hardware['matched']} of {hardware['compared']} components match, threshold {hardware['threshold']}"
        print(f"{'Hardware:':14}{hardware['verdict']}, {counts}")
