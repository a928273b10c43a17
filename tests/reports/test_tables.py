import json

from segtricks.reports.tables import figure, text_table, write_json


def test_figures_are_aligned_right_and_text_left():
    lines = text_table(("set", "iou"), [["ecssd", "0.5"], ["a", "10.25"]]).splitlines()
    assert lines == ["set      iou", "-----  -----", "ecssd    0.5", "a      10.25"]


def test_nan_is_a_dash_in_tables_and_null_in_json(tmp_path):
    assert figure(float("nan")) == "-"
    write_json(tmp_path / "a.json", {"iou": float("nan"), "name": "Ä"})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"iou": None, "name": "Ä"}
