"""Cells and tables of the reports."""

from tools.evaluation.report import estimate_cell, markdown_table


def test_a_cell_shows_the_errors_that_are_known():
    value = {"mean": 2.5e-3, "standard_error": 1e-4, "by_person": 2e-4}
    assert estimate_cell(value, 1e-3) == "2.50 ± 0.10 (0.20)"
    assert estimate_cell(value, 1e-3, sign="+") == "+2.50 ± 0.10 (0.20)"
    assert estimate_cell(value, 1e-3, digits=3, by_person=False) == "2.500 ± 0.100"
    assert estimate_cell(value | {"by_person": None}, 1e-3) == "2.50 ± 0.10"
    assert estimate_cell(dict.fromkeys(value) | {"mean": -1.0}, 1.0, sign="+") == "-1.00"


def test_a_table_has_a_rule_below_its_headings():
    lines = markdown_table(["", "SAD", "Δ"], [["ours", "1.20", ""]]).splitlines()
    assert lines == ["| | SAD | Δ |", "|---|---|---|", "| ours | 1.20 |  |"]
