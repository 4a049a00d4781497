"""Machines of other releases and architectures. `make check` tries some of them, `make packages-check` all."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.systemd.conftest import Machine, boxes, new_machine, packages
from tests.systems.roots import NotToBeHadError, root

__all__ = ["boxes", "new_machine", "packages"]

whole = pytest.mark.skipif(not os.environ.get("ROLEKEEPER_WHOLE"), reason="`make packages-check` runs it")


@pytest.fixture(scope="module")
def machine_of(new_machine: Callable[..., Machine]) -> Callable[..., Machine]:
    """A booted machine of a root; the test is skipped, with the reason, where the root cannot be had."""

    def build(name: str, *binds: str, **options: object) -> Machine:
        return new_machine(*binds, rootfs=root_or_skip(name), **options)

    return build


def root_or_skip(name: str) -> Path:
    try:
        return root(name)
    except NotToBeHadError as error:
        pytest.skip(f"no root {name}: {error}")
