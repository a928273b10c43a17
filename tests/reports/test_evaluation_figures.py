import numpy as np
import pytest
import torch

from segtricks.metrics import SaliencyScores
from segtricks.reports.evaluation_figures import (
    Verdict,
    agreement,
    bins_figure,
    f_figure,
    pr_figure,
    size_figure,
    verdict_figure,
)


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
    above, below = size_figure(scores).axes
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
    verdicts = [Verdict("x", iou, torch.rand(1, 1, 4, 4), torch.rand(1, 1, 4, 4) > 0.5, photo) for iou in (0.9, 0.1)]
    figure = verdict_figure(verdicts[:1], verdicts[1:])
    assert len(figure.axes) == 2 * (3 if photo is None else 4)
    titles = " ".join(axis.get_title(loc="left") for axis in figure.axes)
    assert "best: x, IoU 0.900" in titles
    assert "worst: x, IoU 0.100" in titles


def test_images_are_counted_in_whole_numbers():
    bins = [{"from": 0.0, "to": 0.5, "images": 4, "iou": 0.5}, {"from": 0.5, "to": 1.0, "images": 1, "iou": 0.7}]
    figure = bins_figure({"mine": bins})
    figure.canvas.draw()
    shown = [text.get_text() for text in figure.axes[1].get_yticklabels()]
    assert "0" in shown
    assert all(text.isdigit() for text in shown)
