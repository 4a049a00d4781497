"""What an attempt looks at before anything is decided: once, and everything."""

from collections.abc import Callable
from datetime import timedelta

from rolekeeper.core import similarity
from rolekeeper.core.similarity import Comparison
from rolekeeper.core.steps import Seen
from rolekeeper.model import Hardware, Node, VaultContents, Verdict
from rolekeeper.ports import World
from rolekeeper.settings import Settings

LOOKS = 3
BETWEEN_LOOKS = timedelta(seconds=5)
LONGEST_FOR_OUTPUT = timedelta(seconds=10)
ORDINARY_PUBLICATION = timedelta(milliseconds=500)


def look(world: World, settings: Settings, contents: VaultContents, node: Node) -> Seen:
    """Look at hardware and outputs; `contents` is what the vault holds, and holds `node`. The caller adds the order.

    Raises HardwareError `boot-unknown`: without the boot id a token could not be recorded.
    """
    boot_id = world.clock.boot_id()
    hardware, comparison = _hardware(world, contents, node, settings.daemon.attempt_timeout)
    longest = longest_for_output(settings)
    outputs = tuple(world.outputs.look(output, longest) for output in settings.outputs)
    return Seen(
        contents=contents,
        node=node,
        hardware=hardware,
        comparison=comparison,
        outputs=outputs,
        now=world.clock.now(),
        boot_id=boot_id,
        roles={role.name: role for role in settings.roles},
        refresh_share=settings.refresh_share,
        rotate_after=settings.rotate_key_after,
        keeps_token=settings.report_health_every is not None,
    )


def longest_for_output(settings: Settings) -> timedelta:
    """How long one output may keep the attempt, in the look and again in publishing.

    All looks together take an eighth of the attempt's time, and so do all publications: an output that is locked or
    hangs starves no other. With very many outputs each still has as long as an ordinary publication needs.
    """
    eighth = settings.daemon.attempt_timeout / 8
    return min(LONGEST_FOR_OUTPUT, max(eighth / max(1, len(settings.outputs)), min(ORDINARY_PUBLICATION, eighth)))


def between_looks(attempt_timeout: timedelta) -> timedelta:
    """The pause between two looks at the hardware: a quarter of the attempt's time at most for all of them."""
    return min(BETWEEN_LOOKS, attempt_timeout / 8)


def look_until(world: World, between: timedelta, is_enough: Callable[[Hardware], bool]) -> Hardware:
    """Look at the hardware until a look `is_enough`, three times at most: at boot, something may not be ready yet."""
    for remaining in reversed(range(LOOKS)):
        hardware = world.probe.look()
        if is_enough(hardware) or not remaining:
            break
        world.clock.sleep(between)
    return hardware


def _hardware(
    world: World, contents: VaultContents, node: Node, attempt_timeout: timedelta
) -> tuple[Hardware, Comparison]:
    """Look at the hardware until it is similar; the service is asked in any case."""

    def judge(hardware: Hardware) -> Comparison:
        return similarity.judge(node.accepted, contents.measured, hardware)

    between = between_looks(attempt_timeout)
    hardware = look_until(world, between, lambda seen: judge(seen).verdict is Verdict.SIMILAR)
    return hardware, judge(hardware)
