"""The table of mutations stays true to the source, so that `make mutations` can be run on any day."""

import pytest
from tests.mutations.mutate import CHECKOUT, Mutation, mutations

ALL = mutations()


@pytest.mark.parametrize("mutation", ALL, ids=[mutation.what for mutation in ALL])
def test_a_mutation_breaks_a_line_that_is_there_and_names_a_test_that_is_there(mutation: Mutation) -> None:
    text = (CHECKOUT / mutation.file).read_text()
    broken = mutation.applied(text)
    compile(broken, mutation.file, "exec")
    assert broken != text
    assert all((CHECKOUT / test.partition("::")[0]).exists() for test in mutation.test.split() if "/" in test)


def test_every_promise_has_a_mutation() -> None:
    assert {mutation.promise for mutation in ALL} == {1, 2, 3, 4, 5, 6, 7}
