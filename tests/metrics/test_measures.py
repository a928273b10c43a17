import subprocess
import sys

import torch

from segtricks.metrics import CorLoc, MaskIoU, MeanAbsoluteError, SaliencyScores, measures
from segtricks.metrics.measures import IMAGE_MEASURES, MASK_MEASURES, MEASURES, title


def test_the_table_names_what_is_measured():
    scores = SaliencyScores()
    scores.update(torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8) > 0.5)
    assert tuple(scores.compute()) == MASK_MEASURES
    assert len(scores.values) == len(IMAGE_MEASURES)
    assert set(IMAGE_MEASURES) < set(MASK_MEASURES)


def test_which_way_is_better_is_what_the_metrics_say():
    for name, metric in {"iou": MaskIoU, "mae": MeanAbsoluteError, "corloc": CorLoc}.items():
        assert MEASURES[name].lower_is_better is not metric.higher_is_better


def test_a_column_that_is_not_a_measure_keeps_its_name():
    assert [title("iou"), title("size")] == ["IoU", "size"]


def test_the_table_needs_no_torch():
    program = f"import sys, {measures.__name__}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
