from segtricks.commands import experiment_masks
from segtricks.experiments.values import ROWS
from segtricks.methods.base import PLAIN, REFINED, SOLVED
from segtricks.metrics import MASK_MEASURES, MEASURES


def test_rows_and_metrics_of_a_grid_are_those_that_runs_give():
    assert (PLAIN, REFINED, SOLVED) == tuple(experiment_masks._ROWS) == ROWS
    assert (*MASK_MEASURES, "corloc") == tuple(MEASURES)
