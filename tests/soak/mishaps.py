"""Everything that happens to a node in the soak: by name, what is done to it. Each returns when it has happened.

None of them lasts: after each, the node has to get new credentials by itself, or with what the manual tells an operator
to do about it, which is `rolekeeper refresh`.
"""

import signal
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from tests.daemonprocess.conftest import TOKEN, UPDATE_KEY
from tests.soak.node import READ_TIMEOUTS, Node

Mishap = Callable[[Node], None]
HTML = "<html><title>Sign in to the network</title></html>"
JSON = "application/x-amz-json-1.1"
LATE = timedelta(seconds=1)
HOUR = timedelta(hours=1)
BURST = 20


def token_fault(**options: Any) -> Mishap:
    """One answer to a token request is not what it should be."""

    def happen(node: Node) -> None:
        node.server.emulator.fail(TOKEN, **options)
        node.until_asked(TOKEN)

    return happen


def key_change(**options: Any) -> Mishap:
    """The service wants another node key; with options, the first answer to the change is not what it should be."""

    def happen(node: Node) -> None:
        emulator, node_id = node.server.emulator, node.server.node_id
        before = emulator.nodes[node_id].public_key
        if options:
            emulator.fail(UPDATE_KEY, **options)
        emulator.request_rotation(node_id)
        node.until(lambda: emulator.nodes[node_id].public_key != before, "another node key")

    return happen


def date(ahead: timedelta) -> dict[str, str | None]:
    return {"Date": format_datetime(datetime.now(UTC) + ahead, usegmt=True)}


def date_ahead(node: Node) -> None:
    token_fault(headers=date(HOUR))(node)


def date_behind(node: Node) -> None:
    token_fault(headers=date(-HOUR))(node)


def signature_refused_with_a_wrong_date(node: Node) -> None:
    token_fault(error="InvalidSignatureException", headers=date(-HOUR))(node)


def fingerprint_unknown_for_a_while(node: Node) -> None:
    """The service expects another fingerprint until it has refused the node's."""
    emulator, node_id = node.server.emulator, node.server.node_id
    accepted = emulator.nodes[node_id].fingerprint
    emulator.change_fingerprint(node_id)
    node.until_asked(TOKEN, "MachineFingerprintDoesNotMatch")
    emulator.change_fingerprint(node_id, accepted)


FAULTS: Mapping[str, Mishap] = {
    "answer late": token_fault(delay=LATE),
    "hang": token_fault(hang=True),
    "hang, token issued": token_fault(hang=True, apply=True),
    "dropped": token_fault(drop=True),
    "dropped, token issued": token_fault(drop=True, apply=True),
    "InternalServerError": token_fault(error="InternalServerError"),
    "ServiceUnavailable, code in the header only": token_fault(error="ServiceUnavailable", error_in_header=True),
    "ThrottlingException": token_fault(error="ThrottlingException"),
    "AccessDeniedException": token_fault(error="AccessDeniedException"),
    "InvalidSignatureException": token_fault(error="InvalidSignatureException"),
    "InvalidSignatureException, Date an hour behind": signature_refused_with_a_wrong_date,
    "status 502 without a body": token_fault(body=b"", status=502),
    "HTML, status 200": token_fault(body=HTML),
    "HTML, status 503": token_fault(body=HTML, status=503),
    "JSON that is no object": token_fault(body="[null]", content_type=JSON),
    "bytes that are no text": token_fault(body=b"\xff\xfe{}", content_type=JSON),
    "body cut": token_fault(cut_body=40),
    "connection cut in the body": token_fault(cut_connection=40),
    "expiry past": token_fault(token_lifetime=-HOUR),
    "expiry in a year": token_fault(token_lifetime=365 * 24 * HOUR),
    "expiry a word": token_fault(fields={"TokenExpirationDate": "soon"}),
    "session token missing": token_fault(remove=("SessionToken",)),
    "UpdateKeyPair missing": token_fault(remove=("UpdateKeyPair",)),
    "Date missing": token_fault(headers={"Date": None}),
    "Date an hour ahead": date_ahead,
    "Date an hour behind": date_behind,
    "MachineFingerprintDoesNotMatch, once": token_fault(error="MachineFingerprintDoesNotMatch"),
    "fingerprint unknown for a while": fingerprint_unknown_for_a_while,
    "InvalidInstanceId": token_fault(error="InvalidInstanceId"),
    "key change": key_change(),
    "key change refused": key_change(error="AccessDeniedException"),
    "key change, PublicKeyAlreadyRegistered": key_change(error="PublicKeyAlreadyRegistered"),
    "key change, InternalServerError": key_change(error="InternalServerError"),
    "key change, HTML": key_change(body=HTML),
    "key change dropped": key_change(drop=True),
    "key change made, answer dropped": key_change(drop=True, apply=True),
    "key change hangs": key_change(hang=True),
    "key change made, then a hang": key_change(hang=True, apply=True),
    "key change made, body cut": key_change(cut_connection=1),
}


def attempt_killed(node: Node) -> None:
    node.signal_attempt(signal.SIGKILL)


def attempt_frozen(node: Node) -> None:
    """It is stopped for good: only its deadline ends it."""
    node.signal_attempt(signal.SIGSTOP)


def attempt_killed_in_a_key_change(node: Node) -> None:
    node.server.emulator.request_rotation(node.server.node_id)
    node.until_asked(UPDATE_KEY)
    node.hit_attempt(signal.SIGKILL)


def reloaded(node: Node) -> None:
    """Another read_timeout: a hang is ended by it, or else by the attempt's deadline."""
    node.configure(READ_TIMEOUTS[node.read_timeout == READ_TIMEOUTS[0]])
    events = len(node.daemon.records("reloaded"))
    node.daemon.send(signal.SIGHUP)
    node.until(lambda: len(node.daemon.records("reloaded")) > events, "the reload")


def reloaded_with_a_broken_configuration(node: Node) -> None:
    good = node.server.config.read_text()
    events = len(node.daemon.records("configuration_rejected"))
    node.server.config.write_text(f"{good}\n[daemon")
    node.daemon.send(signal.SIGHUP)
    try:
        node.until(lambda: len(node.daemon.records("configuration_rejected")) > events, "the rejection")
    finally:
        node.server.config.write_text(good)


def refreshed(node: Node) -> None:
    node.daemon.send(signal.SIGUSR1)


def pelted(node: Node) -> None:
    for _ in range(BURST):
        node.daemon.send(signal.SIGUSR1)
        node.daemon.send(signal.SIGHUP)


def attempted_by_hand(node: Node) -> None:
    node.server.run("attempt")


def threshold_changed(node: Node) -> None:
    node.server.run("fingerprint", "threshold", str(node.chance.randint(30, 50)))


def daemon_killed(node: Node) -> None:
    node.pause()
    node.daemon.process.kill()
    node.daemon.wait()
    node.start()


def restarted(node: Node) -> None:
    node.pause()
    node.stop()
    node.start()


KILLS: Mapping[str, Mishap] = {
    "SIGKILL of an attempt": attempt_killed,
    "SIGKILL of an attempt in a key change": attempt_killed_in_a_key_change,
    "SIGSTOP of an attempt, for good": attempt_frozen,
    "SIGHUP, configuration changed": reloaded,
    "SIGHUP, configuration broken": reloaded_with_a_broken_configuration,
    "SIGUSR1": refreshed,
    f"{BURST} times SIGUSR1 and SIGHUP": pelted,
    "`rolekeeper attempt` by hand": attempted_by_hand,
    "`rolekeeper fingerprint threshold`": threshold_changed,
}
ENDINGS: Mapping[str, Mishap] = {
    "SIGKILL of the daemon, and a start": daemon_killed,
    "SIGTERM, and a start": restarted,
}
