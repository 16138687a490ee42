"""docs/failure_handling.md says what a run shows: its tables are generated here and checked here."""

import os
from pathlib import Path

import pytest

from faults.matrix import PLACES, case, faults_of, row, table
from faults.play import play

DOCUMENT = Path(__file__).parents[2] / "docs" / "failure_handling.md"
BEGIN, END = "<!-- tables -->\n", "<!-- end of tables -->\n"


@pytest.mark.one_lane  # faults strike between the same rounds of the loop
def test_the_docs_say_what_every_fault_comes_to_at_every_step() -> None:
    rows = [(place, fault, row(place, play(*case(place, fault)))) for place in PLACES for fault in faults_of(place)]
    shown = table(rows)
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    found, _, after = rest.partition(END)
    if os.environ.get("TINKEX_WRITE_DOCS"):
        DOCUMENT.write_text(before + BEGIN + shown + END + after)
        found = shown
    assert found == shown, "docs/failure_handling.md is not what the runs showed; say make faults-docs"
