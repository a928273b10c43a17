import pytest

from segtricks.reports.comparison_figure import comparison_figure, not_drawn
from segtricks.scoring.compare import compare
from segtricks.scoring.results import Result


def figure(metric, *values, dataset="ecssd[:4]", paper=None):
    results = [Result(f"run{i}", dataset, "fullres", "mask", {metric: v}, paper=paper) for i, v in enumerate(values)]
    return comparison_figure(compare(results))


def texts(axis):
    return [text.get_text().strip() for text in axis.texts]


def test_dots_lie_at_the_differences_with_their_sign():
    (axis,) = figure("iou", 0.5, 0.75, 0.25).subfigs[0].axes
    assert texts(axis) == ["baseline", "+0.2500", "-0.2500"]
    assert [line.get_xdata()[-1] for line in axis.lines[:1]] == [pytest.approx(0.25)]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["run0, mask", "run1, mask", "run2, mask"]


@pytest.mark.parametrize("metric", ["iou", "mae"])
def test_better_is_blue_also_where_less_is_better(metric):
    (axis,) = figure(metric, 0.5, 0.75).subfigs[0].axes
    assert axis.lines[0].get_color() == {"iou": "#0072b2", "mae": "#d55e00"}[metric]


def test_published_numbers_have_a_plot_of_their_own():
    paper = {"method": "LOST"}  # ECSSD: 0.654
    baseline, published = figure("iou", 0.5, 0.754, dataset="ecssd", paper=paper).subfigs[0].axes
    assert texts(baseline) == ["baseline", "+0.2540"]
    assert texts(published) == ["-0.1540", "+0.1000"]


def test_thirty_rows_have_room_each():
    drawn = figure("iou", *(i / 100 for i in range(30)))
    (axis,) = drawn.subfigs[0].axes
    drawn.canvas.draw()
    inches = axis.get_window_extent().height / drawn.dpi
    assert inches / 30 > 0.2


def test_a_single_row_has_nothing_to_be_compared_with():
    assert figure("iou", 0.5) is None


def test_a_group_without_a_metric_has_its_other_plots_and_no_empty_one():
    masks = [Result(f"run{i}", "ecssd[:4]", "fullres", "mask", {"iou": 0.5 + i / 4}) for i in range(2)]
    boxes = [Result(f"run{i}", "voc12[:4]", "fullres", "mask", {"corloc": 0.5 - i / 4}) for i in range(2)]
    for part, said in zip(comparison_figure(compare(masks + boxes)).subfigs, ["+0.2500", "-0.2500"], strict=True):
        shown = [axis for axis in part.axes if axis.axison]
        assert [texts(axis) for axis in shown] == [["baseline", said]]
        assert [label.get_text() for label in shown[0].get_yticklabels()] == ["run0, mask", "run1, mask"]


def test_baseline_stands_beside_the_axis_line():
    drawn = figure("iou", 0.5, 0.75)
    (axis,) = drawn.subfigs[0].axes
    drawn.canvas.draw()
    line = axis.transData.transform((0, 0))[0]
    assert axis.texts[0].get_text() == "baseline"
    assert axis.texts[0].get_window_extent().x0 > line + 2


def test_groups_without_a_figure_are_named_with_the_reason():
    def one(run, dataset, **metrics):
        return Result(run, dataset, "fullres", "mask", metrics)

    drawn = [one("a", "ecssd[:4]", iou=0.5), one("b", "ecssd[:4]", iou=0.6)]
    left_out = [
        one("b", "duts-te[:4]", iou=0.5),
        *(one("a", "voc07[:4]", iou=0.5), one("b", "voc07[:4]", corloc=0.5)),
        one("a", "voc12[:4]", corloc=0.5),
    ]
    comparison = compare([*drawn, *left_out], baseline="a")
    assert len(comparison_figure(comparison).subfigs) == 1
    other, unlike, alone = not_drawn(comparison)
    assert other.startswith("No figure of duts-te[:4], protocol fullres: no row is the baseline a")
    assert "voc07[:4], protocol fullres: no row shares iou, corloc with the baseline" in unlike
    assert "voc12[:4], protocol fullres: its only row is the baseline" in alone
