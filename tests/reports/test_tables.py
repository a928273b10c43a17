from segtricks.reports.tables import figure, text_table


def test_figures_are_aligned_right_and_text_left():
    lines = text_table(("set", "iou"), [["ecssd", "0.5"], ["a", "10.25"]]).splitlines()
    assert lines == ["set      iou", "-----  -----", "ecssd    0.5", "a      10.25"]


def test_nan_is_a_dash_in_tables():
    assert figure(float("nan")) == "-"
