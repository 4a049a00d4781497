"""Machines of other releases and architectures; made and tried only by `make packages-check`."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.systemd.conftest import Machine, boxes, new_machine, packages
from tests.systems.roots import NotToBeHadError, root

__all__ = ["boxes", "new_machine", "packages"]

numbers = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is here, unless the whole is wanted."""
    if os.environ.get("ROLEKEEPER_WHOLE"):
        return
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.skip(reason="`make packages-check` runs it"))


@pytest.fixture(scope="module")
def machine_of(new_machine: Callable[..., Machine]) -> Iterator[Callable[..., Machine]]:
    """A booted machine of a root; the test is skipped, with the reason, where the root cannot be had."""
    with ExitStack():

        def build(name: str, *binds: str, **options: object) -> Machine:
            return new_machine(*binds, rootfs=root_or_skip(name), **options)

        yield build


def root_or_skip(name: str) -> Path:
    try:
        return root(name)
    except NotToBeHadError as error:
        pytest.skip(f"no root {name}: {error}")
