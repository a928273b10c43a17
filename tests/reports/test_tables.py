import json

import pytest

from segtricks.reports.tables import figure, short_title, text_table, write_json


def test_figures_are_aligned_right_and_text_left():
    lines = text_table(("set", "iou"), [["ecssd", "0.5"], ["a", "10.25"]]).splitlines()
    assert lines == ["set      iou", "-----  -----", "ecssd    0.5", "a      10.25"]


def test_nan_is_a_dash_in_tables_and_null_in_json(tmp_path):
    assert figure(float("nan")) == "-"
    write_json(tmp_path / "a.json", {"iou": float("nan"), "name": "Ä"})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"iou": None, "name": "Ä"}


@pytest.mark.parametrize(
    ("metric", "title"),
    [
        ("iou", "iou"),
        ("max_fbeta", "max F"),
        ("weighted_fbeta", "w F"),
        ("s_measure", "s"),
        ("e_measure_mean", "e mean"),
    ],
)
def test_titles_of_columns_are_short(metric, title):
    assert short_title(metric) == title
