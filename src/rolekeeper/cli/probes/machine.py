"""Configuration, unit, daemon, vault and hardware."""

from collections.abc import Iterator
from pathlib import Path

from rolekeeper import __version__, compose
from rolekeeper.adapters.supervision import unit
from rolekeeper.adapters.vault import FILE
from rolekeeper.cli import condition
from rolekeeper.cli.check import account_warnings, seal_warnings
from rolekeeper.cli.probes.case import Case
from rolekeeper.cli.status import OUTDATED
from rolekeeper.config import policies
from rolekeeper.config.files import DEFAULT_PATH
from rolekeeper.core import similarity, weakness
from rolekeeper.core.findings import Finding, Level, failed, misconfigured, ok, skipped, warning
from rolekeeper.core.loop.status import Status
from rolekeeper.core.outcomes import CONSEQUENCES, exit_code_of
from rolekeeper.errors import (
    ConfigurationError,
    HardwareError,
    RefusedError,
    UnavailableError,
    UnregisteredError,
)
from rolekeeper.model import THRESHOLD_OFF, Outcome, OutputProblem, Phase, Verdict
from rolekeeper.settings import Settings
from rolekeeper.values import replace

_ENABLED = ("enabled", "enabled-runtime", "static", "alias", "indirect", "generated", "linked", "linked-runtime")
_OTHERS = 0o077


def configuration(case: Case) -> Iterator[Finding]:
    """What the files say, and what on this machine does not fit it: as `rolekeeper check`."""
    errors, warnings = policies.examine(case.loaded)
    wrong = (*case.loaded.problems, *errors)
    code = ConfigurationError(()).code
    for problem in wrong:
        yield misconfigured("configuration", Level.FAILED, code, problem, ConfigurationError.exit_code)
    for problem in (*warnings, *account_warnings(case.loaded), *seal_warnings(case.settings)):
        yield misconfigured("configuration", Level.WARNING, "configuration-doubtful", problem)
    if not wrong:
        outputs, roles = len(case.settings.outputs), len(case.settings.roles)
        text = f"{case.configuration or DEFAULT_PATH} names {_counted(outputs, 'output')} and {_counted(roles, 'role')}"
        yield ok("configuration", text)


def service_unit(case: Case) -> Iterator[Finding]:
    """Whether systemd runs the daemon, and will after a boot."""
    if not case.concerns_unit:
        yield skipped("unit", "--config names another configuration than that of the unit")
        return
    case.unit = found = unit.state()
    if found is None:
        yield skipped("unit", "no systemd runs here, or it does not answer")
        return
    if found.load == "not-found":
        case.unit = None
        hint = "install the package, or the files in systemd/ below /etc/systemd/system"
        yield warning("unit", OutputProblem("unit-missing", f"there is no {unit.UNIT}", hint))
        return
    wrong = _unit_error(found)
    if wrong is not None:
        yield failed("unit", wrong)
    if found.load == "loaded" and found.enabled not in _ENABLED:
        message = f"{unit.UNIT} is {found.enabled or 'not enabled'}: it does not start at boot"
        yield warning("unit", OutputProblem("unit-not-enabled", message, "systemctl enable rolekeeper"))
    if found.needs_reload:
        message = "the unit's files have changed since systemd read them: what they say now is not in force"
        hint = "systemctl daemon-reload && systemctl restart rolekeeper"
        yield warning("unit", OutputProblem("unit-changed", message, hint))
    if wrong is None:
        yield ok("unit", f"{unit.UNIT} is {found.active} and {found.enabled or 'not enabled'}")


def _unit_error(found: unit.Unit) -> UnavailableError | None:
    if found.load == "masked":
        return UnavailableError("unit-masked", f"{unit.UNIT} is masked", "systemctl unmask rolekeeper")
    if found.load != "loaded":
        hint = "`systemctl status rolekeeper` names the file and the line"
        return UnavailableError("unit-broken", f"systemd cannot load {unit.UNIT} ({found.load})", hint)
    if found.active in ("active", "reloading"):
        return None
    why, remedy = unit.why_not_running(found)
    code = "unit-failed" if why else "unit-inactive"
    return UnavailableError(code, f"{unit.UNIT} does not run: {why or found.active}", remedy)


def daemon(case: Case) -> Iterator[Finding]:
    """Whether a daemon runs, by which configuration, and what came of its last attempt."""
    case.condition = now = condition.read(case.settings, case.clock)
    if now.pid is None:
        why, remedy = unit.why_not_running(case.unit)
        message = f"no daemon runs on {case.settings.daemon.runtime_directory}" + (f": {why}" if why else "")
        yield failed("daemon", UnavailableError("no-daemon", message, remedy))
        return
    if now.reported is None:
        message = f"the daemon {now.pid} has not reported its state yet"
        yield warning("daemon", OutputProblem("daemon-silent", message, "try again; its log says why if it stays so"))
        return
    found = [*_outdated(now.reported, is_outdated=now.is_outdated), *_last_outcome(now.reported, now.state)]
    yield from found
    if not any(one.level is Level.FAILED for one in found):
        yield ok("daemon", f"{now.state} with {now.reported.node_id or 'no node'}, pid {now.pid}")


def _outdated(reported: Status, *, is_outdated: bool) -> Iterator[Finding]:
    if is_outdated:
        error = UnavailableError("configuration-not-in-force", OUTDATED, "systemctl reload rolekeeper")
        yield failed("daemon", error)
    if reported.version != __version__:
        message = f"the daemon is rolekeeper {reported.version}, and {__version__} is installed"
        yield warning("daemon", OutputProblem("daemon-outdated", message, "systemctl restart rolekeeper"))


def _last_outcome(reported: Status, state: Phase | None) -> Iterator[Finding]:
    """What came of the last attempt, unless all went well."""
    last = reported.last_outcome
    if last is None or not last.code:
        return
    problem = OutputProblem(last.code, f"last attempt {last.outcome} ({state}): {last.message}", last.hint)
    if last.outcome is Outcome.ISSUED:
        yield warning("daemon", problem)
        return
    kind = CONSEQUENCES[last.outcome].error or UnavailableError
    error = kind(problem.code, problem.message, problem.hint)
    yield replace(failed("daemon", error), exit_code=exit_code_of(last.outcome, last.code))


def vault(case: Case) -> Iterator[Finding]:
    """Whether the vault can be read, is closed to other users, and holds a registration."""
    directory = case.settings.vault_directory
    case.contents = compose.vault(case.settings).load()
    yield from _open_to_others(directory)
    node = case.contents.registration
    if node is None:
        hint = "register with `rolekeeper register`, or `rolekeeper adopt`"
        yield failed("vault", UnregisteredError("unregistered", f"No registration in the vault {directory}", hint))
        return
    yield from _key_at_risk(case.settings)
    yield ok("vault", f"{node.node_id} in {node.region}, key of {node.key.created_at:%Y-%m-%d}")


def _key_at_risk(settings: Settings) -> Iterator[Finding]:
    """A sealed vault whose key only the running unit still has: the next restart would lose it."""
    if compose.vault(settings).sealed_with() is not None and not compose.vault_keys(settings).kept():
        message = "only the running daemon still has the vault's key: it is missing on disk, or cannot be decrypted"
        yield warning("vault", OutputProblem("vault-key-at-risk", message, "`rolekeeper seal` before the next restart"))


def _open_to_others(directory: str) -> Iterator[Finding]:
    for path in (Path(directory), Path(directory, FILE)):
        mode = path.stat().st_mode & 0o777 if path.exists() else 0
        if mode & _OTHERS:
            message = f"{path} has mode {mode:04o}: the node key is for its owner alone"
            yield warning("vault", OutputProblem("vault-open", message, f"chmod -R go= {directory}"))


def hardware(case: Case) -> Iterator[Finding]:
    """Whether this is the machine that the fingerprint belongs to, and whether a copy of it would pass for it."""
    node = case.contents.node
    assert node is not None  # noqa: S101 - the vault has passed
    seen = compose.world(case.settings).probe.look()
    compared = similarity.judge(node.accepted, case.contents.measured, seen)
    text = similarity.explain(compared.summary())
    for weak in (
        weakness.of_machine_id(node.accepted.hardware_hash, seen.hash),
        weakness.of_smbios(node.accepted.hardware_hash, seen.hash),
        _threshold_off(node.accepted.threshold),
    ):
        if weak is not None:
            yield warning("hardware", weak)
    if compared.verdict is Verdict.SIMILAR:
        yield ok("hardware", text)
    elif compared.verdict is Verdict.UNREADABLE:
        reasons = "; ".join(f"{name}: {why}" for name, why in seen.unreadable.items())
        hint = "make what is named readable; `rolekeeper fingerprint` shows each component"
        yield failed("hardware", HardwareError("hardware-unreadable", f"{text} ({reasons})", hint))
    else:
        hint = (
            "put the hardware back as it was: `rolekeeper fingerprint` shows what changed; if this is the machine, "
            "`rolekeeper fingerprint accept`"
        )
        yield failed("hardware", RefusedError("hardware-not-similar", text, hint))


def _threshold_off(threshold: int) -> OutputProblem | None:
    if threshold != THRESHOLD_OFF:
        return None
    message = "the similarity threshold is off: a copy of this disk passes for this machine"
    return OutputProblem("threshold-off", message, "rolekeeper fingerprint threshold 40")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
