"""`rolekeeper status`: how the running daemon and the credentials are."""

import argparse

from rolekeeper import compose
from rolekeeper.cli import standing
from rolekeeper.cli.messages import say
from rolekeeper.cli.output import print_json
from rolekeeper.core import similarity
from rolekeeper.core.jsonvalues import encode
from rolekeeper.core.loop import status
from rolekeeper.core.loop.status import Document

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
    now = standing.read(settings, compose.clock())
    if now.pid is None:
        say(f"no daemon runs on {settings.daemon.runtime_directory}", "`systemctl start rolekeeper`")
    elif now.document is None:
        say(f"the daemon {now.pid} has not told its state yet", "try again; its log says why when it stays so")
    if options.json:
        print_json(now.document if now.document is not None else dict.fromkeys(status.FIELDS))
    elif now.document is not None:
        _print(now.document)
    return standing.exit_code(now)


def _print(document: Document) -> None:
    told = encode(document)
    for title, field in LINES:
        if told[field] is not None:
            print(f"{title + ':':14}{told[field]}")
    if document.last_outcome is not None:
        last = told["last_outcome"]
        words = ": ".join(word for word in (last["outcome"], last["code"], last["message"]) if word)
        print(f"{'Last outcome:':14}{words} ({last['at']})")
    for output in told["outputs"]:
        print(f"{'Output:':14}{output['path']} [{output['profile']}], published {output['published_at'] or 'never'}")
    if document.fingerprint is not None:
        print(f"{'Hardware:':14}{similarity.explain(document.fingerprint)}")
