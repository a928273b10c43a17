import re
from xml.etree import ElementTree

from segtricks.reports.charts import size_chart, training_charts


def words(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")]


def points(svg, colour):
    """Number of corners of the curve of a colour."""
    lines = re.findall(r'<path d="([^"]*)"[^>]*stroke: ' + colour, svg)
    return max(len(re.findall(r"[ML]", line)) for line in lines)


def test_every_term_has_a_chart_the_total_first():
    rows = [{"step": step, "train/ncut": 1 / (step + 1), "train/loss": 2.0, "val/loss": 1.0} for step in range(5)]
    charts = training_charts(rows)
    assert list(charts) == ["loss", "ncut"]
    assert {"step", "training", "held out"} <= set(words(charts["loss"]))
    assert "held out" not in words(charts["ncut"])


def test_long_curves_are_means_of_few_points():
    rows = [{"step": step, "train/loss": float(step % 7)} for step in range(20_000)]
    (chart,) = training_charts(rows).values()
    assert len(chart) < 40_000
    assert points(chart, "#3b8fd4") <= 250


def test_no_rows_no_charts():
    assert training_charts([{"step": 1, "test/ecssd": 0.5}]) == {}
    assert size_chart({}) is None
    assert size_chart({"mask": [{"from": 0, "to": 0.5, "images": 0, "iou": None}]}) is None


def test_size_chart_has_a_line_for_each_row():
    bins = [{"from": 0.0, "to": 0.5, "images": 3, "iou": 0.5}, {"from": 0.5, "to": 1.0, "images": 1, "iou": 0.7}]
    assert {"mask", "refined", "mean IoU"} <= set(words(size_chart({"mask": bins, "refined": bins})))


def test_a_single_point_is_seen():
    rows = [{"step": step, "train/loss": 0.5} for step in (3, 4)]
    dots = [len(re.findall("<use [^>]*fill: #3b8fd4", training_charts(some)["loss"])) for some in (rows[:1], rows)]
    assert dots == [2, 0], "the point, and its sign in the legend"


def test_size_chart_counts_the_images_below_in_whole_numbers():
    bins = [{"from": 0.0, "to": 0.5, "images": 2, "iou": 0.5}, {"from": 0.5, "to": 1.0, "images": 1, "iou": 0.7}]
    said = set(words(size_chart({"mask": bins})))
    assert {"images", "1", "2"} <= said
    assert not {"0.5", "1.5"} & said
