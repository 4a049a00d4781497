"""The exit code of a command that reports an outcome."""

import pytest

from rolekeeper.core.outcomes import exit_code
from rolekeeper.model import AttemptReport, Outcome, OutputProblem

WARNING = OutputProblem("keys-outranked", "Programs may not use the credentials", is_warning=True)
LACKING = OutputProblem("no-space", "Cannot publish")
UNRECORDED = AttemptReport(Outcome.ISSUED, code="no-space", message="Cannot save the vault")


@pytest.mark.parametrize(("problems", "code"), [([None, None], 0), ([None, WARNING], 0), ([WARNING, LACKING], 74)])
def test_credentials_that_could_not_be_recorded_are_a_success_where_no_output_lacks_them(
    problems: list[OutputProblem | None], code: int
) -> None:
    assert exit_code(UNRECORDED, problems) == code
