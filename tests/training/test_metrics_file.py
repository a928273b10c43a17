import csv

from segtricks.training.metrics_file import MetricsFile


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_scalars_of_a_step_share_a_row_and_columns_are_united(tmp_path):
    metrics = MetricsFile(tmp_path)
    metrics.log_metrics({"train/loss": 1.5, "epoch": 0}, 4)
    metrics.log_metrics({"train/ncut": 0.5}, 4)
    metrics.save()
    metrics.log_metrics({"val/loss": 2.0, "epoch": 1}, 9)
    metrics.finalize("success")
    assert read(tmp_path / "metrics.csv") == [
        {"epoch": "0", "step": "4", "train/loss": "1.5", "train/ncut": "0.5", "val/loss": ""},
        {"epoch": "1", "step": "9", "train/loss": "", "train/ncut": "", "val/loss": "2.0"},
    ]


def test_scalars_of_a_step_that_is_on_disk_join_its_row(tmp_path):
    metrics = MetricsFile(tmp_path)
    metrics.log_metrics({"train/loss": 1.5, "epoch": 0}, 4)
    metrics.save()
    metrics.log_metrics({"train/loss": 1.5, "val/loss": 2.0, "epoch": 0}, 4)
    metrics.save()
    assert metrics.rows() == [{"epoch": 0, "step": 4, "train/loss": 1.5, "val/loss": 2.0}]


def test_resumed_run_keeps_the_rows_before_its_step(tmp_path):
    first = MetricsFile(tmp_path)
    for step in range(5):
        first.log_metrics({"train/loss": float(step)}, step)
    first.save()
    resumed = MetricsFile(tmp_path)
    resumed.truncate(3)
    resumed.log_metrics({"train/loss": 30.0}, 3)
    resumed.save()
    assert [(row["step"], row["train/loss"]) for row in resumed.rows()] == [(0, 0), (1, 1), (2, 2), (3, 30)]


def test_rows_are_written_before_the_run_ends(tmp_path):
    metrics = MetricsFile(tmp_path)
    for step in range(120):
        metrics.log_metrics({"train/loss": 0.0}, step)
    assert len(read(tmp_path / "metrics.csv")) >= 100
