import pytest
import yaml

from segtricks.cli import main
from segtricks.commands.experiment_grid import find_grid, packaged_experiments, read_grid, with_axes
from segtricks.errors import UserError

from .experiment_fake import GRID


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("title:", "titel:"), "unknown key 'titel'. Allowed: title, protocol"),
        (("protocol: fullres", ""), "lacks 'protocol'"),
        (("command: test", "command: discover"), "must be fit, test or masks, got 'discover'"),
        (("command: test, ", ""), "runs: tokencut lacks 'command'"),
        (("title: Fakes", "title: ["), "is no YAML"),
    ],
)
def test_mistake_in_a_grid_is_named(tmp_path, change, said):
    assert change[0] in GRID
    (tmp_path / "grid.yaml").write_text(GRID.replace(*change))
    with pytest.raises(UserError) as error:
        read_grid(tmp_path / "grid.yaml")
    assert said in str(error.value)


def test_unknown_axis_lists_those_of_the_grid(tmp_path):
    (tmp_path / "grid.yaml").write_text(GRID)
    with pytest.raises(UserError, match=r"Axes here: backbone=a,b\."):
        with_axes(read_grid(tmp_path / "grid.yaml"), ["head=a"])


def test_experiments_that_ship_are_found_by_the_start_of_their_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_grid("table3") == find_grid("table3_ablation_saliency") == find_grid("experiments/table3")
    with pytest.raises(UserError, match=r"Packaged: mini_ablation, .*table1_saliency, table2_corloc"):
        find_grid("table")


def test_sweep_has_what_wandb_asks_for_and_options_that_fit_takes(tmp_path, monkeypatch, capsys):
    path = next(iter(packaged_experiments().values())).parents[1] / "sweep.yaml"
    sweep = yaml.safe_load(path.read_text())
    assert sweep["command"][-1] == "${args}"
    assert sweep["metric"]["name"] == "val/loss"
    monkeypatch.chdir(tmp_path)
    options = [f"--{name}={values['values'][0]}" for name, values in sweep["parameters"].items()]
    # An unknown option would be told before the missing photographs.
    assert main(["fit", "--config", "sempart_tricks", "--model.backbone", "descriptor", *options]) == 2
    assert "DUTS-TR" in capsys.readouterr().err
