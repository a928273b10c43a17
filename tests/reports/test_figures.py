import re
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from segtricks.metrics import SaliencyScores
from segtricks.reports.figures import (
    Panel,
    RankedImage,
    agreement,
    best_worst_figure,
    bins_figure,
    comparison_figure,
    curve_figure,
    f_figure,
    loss_terms,
    not_drawn,
    outlined,
    panel_figure,
    pr_figure,
    save_figure,
    svg,
)
from segtricks.scoring.compare import compare
from segtricks.scoring.results import Result

BINS = [{"from": 0.0, "to": 0.5, "images": 4, "iou": 0.5}, {"from": 0.5, "to": 1.0, "images": 1, "iou": 0.7}]


def test_panel_shows_image_and_every_mask_in_columns(tmp_path):
    mask = torch.zeros(1, 8, 10)
    panels = [Panel("a.jpg", torch.zeros(3, 8, 10, dtype=torch.uint8), {"mask": mask, "target": mask})] * 2
    figure = panel_figure(panels)
    assert [axis.get_title() for axis in figure.axes] == ["a.jpg", "mask", "target"] * 2
    save_figure(figure, tmp_path / "deep" / "panel.png")
    assert Image.open(tmp_path / "deep" / "panel.png").size[0] > 100


def test_curves_show_each_logged_term_with_its_points_the_total_first():
    rows = [{"step": 0, "train/loss": 2.0}, {"step": 5, "train/loss": 1.0}, {"step": 5, "val/loss": 1.5, "val/a": 1}]
    assert loss_terms(rows) == ["loss", "a"]
    axis, _ = curve_figure(rows).axes
    assert axis.get_title() == "loss"
    assert [line.get_xydata().tolist() for line in axis.lines] == [[[0, 2], [5, 1]], [[5, 1.5]]]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["training", "held out"]


def test_single_points_are_seen():
    rows = [{"step": 0, "train/loss": 2.0}, {"step": 5, "val/loss": 1.5, "val/ncut": 0.5}]
    assert [line.get_marker() for axis in curve_figure(rows).axes for line in axis.lines] == ["o", "o", "o"]
    (line,) = curve_figure([{"step": step, "train/loss": 0.5} for step in (3, 4)]).axes[0].lines
    assert line.get_marker() == ""


def test_long_curves_are_means_of_few_points():
    rows = [{"step": step, "train/loss": float(step % 7)} for step in range(20_000)]
    (line,) = curve_figure(rows).axes[0].lines
    assert len(line.get_xdata()) == 250
    assert line.get_xydata()[0] == pytest.approx([39.5, np.mean([step % 7 for step in range(80)])])
    assert len(svg(curve_figure(rows))) < 40_000


def test_no_rows_no_curves():
    assert curve_figure([]) is None
    assert curve_figure([{"step": 1, "test/ecssd": 0.5}]) is None


def test_svg_shows_its_words_as_text_in_a_colour_for_light_and_dark_pages():
    drawn = svg(bins_figure({"mask": BINS, "refined": BINS}))
    words = {element.text for element in ElementTree.fromstring(drawn).iter() if element.tag.endswith("text")}
    assert {"mask", "refined", "mean IoU", "images"} <= words
    assert set(re.findall(r'<text style="[^"]*fill: (#\w+)', drawn)) == {"#808080"}


@pytest.fixture
def scores():
    generator = torch.Generator().manual_seed(0)
    score = SaliencyScores()
    for share in (0.1, 0.5):
        truth = torch.zeros(1, 1, 10, 10)
        truth[..., : int(share * 10), :] = 1
        score.update((truth * 0.6 + 0.4 * torch.rand(1, 1, 10, 10, generator=generator)), truth)
    return {"mine": score}


def test_curves_show_the_scores_own_numbers(scores):
    precision, recall = scores["mine"].pr_curve()
    line = pr_figure(scores).axes[0].lines[0]
    np.testing.assert_allclose(line.get_xdata(), recall.numpy())
    np.testing.assert_allclose(line.get_ydata(), precision.numpy())
    np.testing.assert_allclose(f_figure(scores).axes[0].lines[0].get_ydata(), scores["mine"].f_curve().numpy())


def test_sizes_stand_in_the_middle_of_their_bins_over_their_counts(scores):
    above, below = bins_figure({"mine": scores["mine"].size_bins()}).axes
    assert above.lines[0].get_xdata().tolist() == [12.5, 52.5]
    heights = [bar.get_height() for bar in below.patches]
    assert (sum(heights), heights[2], heights[10]) == (2, 1, 1)


def test_colours_tell_hits_excess_and_misses_apart():
    pred, truth = torch.tensor([0.9, 0.9, 0.1, 0.1]), torch.tensor([True, False, True, False])
    picture = agreement(pred.reshape(1, 1, 1, 4), truth.reshape(1, 1, 1, 4))
    hit, extra, missed, nothing = picture[0]
    assert hit.min() > 0.9
    assert extra.argmax() == 0
    assert missed.argmax() == 2
    assert nothing.max() == 0


@pytest.mark.parametrize("photo", [None, torch.zeros(3, 4, 4, dtype=torch.uint8)])
def test_best_and_worst_have_a_row_each_and_a_photograph_if_there_is_one(photo):
    verdicts = [
        RankedImage("x", iou, torch.rand(1, 1, 4, 4), torch.rand(1, 1, 4, 4) > 0.5, photo) for iou in (0.9, 0.1)
    ]
    figure = best_worst_figure(verdicts[:1], verdicts[1:])
    assert len(figure.axes) == 2 * (3 if photo is None else 4)
    titles = " ".join(axis.get_title(loc="left") for axis in figure.axes)
    assert "best: x, IoU 0.900" in titles
    assert "worst: x, IoU 0.100" in titles


def test_images_are_counted_in_whole_numbers():
    figure = bins_figure({"mine": BINS})
    figure.canvas.draw()
    shown = [text.get_text() for text in figure.axes[1].get_yticklabels()]
    assert "0" in shown
    assert all(text.isdigit() for text in shown)


def test_no_iou_no_figure_of_sizes():
    assert bins_figure({}) is None
    assert bins_figure({"mask": [{"from": 0, "to": 0.5, "images": 1, "iou": None}]}) is None


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
    for part, shown_text in zip(comparison_figure(compare(masks + boxes)).subfigs, ["+0.2500", "-0.2500"], strict=True):
        shown = [axis for axis in part.axes if axis.axison]
        assert [texts(axis) for axis in shown] == [["baseline", shown_text]]
        assert [label.get_text() for label in shown[0].get_yticklabels()] == ["run0, mask", "run1, mask"]


def test_baseline_stands_next_to_the_axis_line():
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


def test_outlines_run_inside_their_half_open_boxes():
    image = torch.zeros(3, 20, 30, dtype=torch.uint8)
    drawn = outlined(image, np.array([[3.0, 2.0, 13.0, 10.0]]))[0]
    expected = torch.zeros(20, 30, dtype=torch.uint8)
    expected[2:10, 3:13] = 80
    expected[4:8, 5:11] = 0
    assert (drawn == expected).all() and not image.any()
    assert (outlined(image, np.empty((0, 4))) == image).all()
