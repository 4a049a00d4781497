"""What an attempt looks at before anything is decided: once, and everything."""

from datetime import timedelta

from rolekeeper.core import similarity
from rolekeeper.core.similarity import Comparison
from rolekeeper.core.steps import Seen, SeenOutput
from rolekeeper.model import Hardware, Node, Output, Settings, VaultContents, Verdict
from rolekeeper.ports import World

LOOKS = 3
BETWEEN_LOOKS = timedelta(seconds=5)
LONGEST_FOR_OUTPUT = timedelta(seconds=10)


def look(world: World, settings: Settings, contents: VaultContents, node: Node, *, reuse: bool) -> Seen:
    """Look at hardware and outputs; `contents` is what the vault holds, and holds `node`.

    Raises HardwareError `boot-unknown`: without the boot id a token could not be recorded.
    """
    boot_id = world.clock.boot_id()
    hardware, comparison = _hardware(world, contents, node, settings.daemon.attempt_timeout)
    world.outputs.remove_others(settings.outputs)
    outputs = tuple(_output(world, output, settings) for output in settings.outputs)
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
        reuse=reuse,
        rotate_after=settings.rotate_key_after,
    )


def longest_for_output(settings: Settings) -> timedelta:
    """How long one output may keep the attempt, in the look and again in publishing.

    All looks together take an eighth of the attempt's time, and so do all publications: an output that is locked or
    hangs starves no other.
    """
    return min(LONGEST_FOR_OUTPUT, settings.daemon.attempt_timeout / 8 / max(1, len(settings.outputs)))


def _output(world: World, output: Output, settings: Settings) -> SeenOutput:
    return world.outputs.look(output, longest_for_output(settings))


def _hardware(
    world: World, contents: VaultContents, node: Node, attempt_timeout: timedelta
) -> tuple[Hardware, Comparison]:
    """Look at the hardware until it is similar, three times at most: at boot, something may not be ready yet.

    The time between the looks is at most a quarter of the attempt's, because the service has to be asked in any case.
    """
    between = min(BETWEEN_LOOKS, attempt_timeout / 8)
    for remaining in reversed(range(LOOKS)):
        hardware = world.probe.look()
        comparison = similarity.judge(node.accepted, contents.measured, hardware)
        if comparison.verdict is Verdict.SIMILAR or not remaining:
            break
        world.clock.sleep(between)
    return hardware, comparison
