import pytest
import yaml

from segtricks.cli import main
from segtricks.errors import UserError
from segtricks.experiments.grid import find_grid, packaged_experiments, read_grid, with_axes

from .experiment_fake import GRID


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("title:", "titel:"), "unknown key 'titel'. Allowed: title, protocol"),
        (("protocol: fullres", ""), "lacks 'protocol'"),
        (("command: test", "command: discover"), "must be fit, test or masks, got 'discover'"),
        (("command: test, ", ""), "runs: tokencut lacks 'command'"),
        (("title: Fakes", "title: ["), "is no YAML"),
        (("title: Fakes", "title: [Fakes]"), "title must be text, got ['Fakes']."),
        (
            ("title: Fakes", "title: Fakes\npaper: three"),
            "paper must be the number of a table of the paper, got 'three'.",
        ),
        (("data: [ecssd, voc12]", "data: 5"), "data must be a list of names, such as [one, two], got 5."),
        (("data: [ecssd, voc12]", "data: []"), "data must be a list of names"),
        (("data: [ecssd, voc12]", "data:"), "data must be a list of names, such as [one, two], got nothing."),
        (("metrics: [iou]", "metrics: {iou: 1}"), "metrics must be a list of names"),
        (
            ("metrics: [iou]", "metrics: [iuo]"),
            "metrics: no metric 'iuo'. Did you mean iou?\nAllowed: acc, iou, max_fbeta,",
        ),
        (("seeds: [0, 1]", "seeds: [0, one]"), "seeds must be a list of whole numbers from 0, such as [0, 1, 2], got"),
        (("seeds: [0, 1]", "seeds: true"), "seeds must be a list of whole numbers"),
        (("seeds: [0, 1]", "seeds: [-1]"), "seeds must be a list of whole numbers"),
        (("seeds: [0, 1]", "seeds: []"), "seeds must be a list of whole numbers"),
        (("axes: {backbone: [a, b]}", "axes: [a, b]"), "axes must hold lines such as 'backbone: [dino_vits8, "),
        (("axes: {backbone: [a, b]}", "axes: {backbone: []}"), "axes: backbone must be a list of texts or numbers"),
        (("axes: {backbone: [a, b]}", "axes: {backbone: {a: b}}"), "such as [a, b], got {'a': 'b'}."),
        (
            ("crop: true", 'crop: "{bakbone}"'),
            "cell 2: labels: crop: {bakbone} is no axis. Did you mean backbone? Axes: b",
        ),
        (('  "{backbone}-crop"', '  "{head}-crop"'), "runs: {head}-crop: {head} is no axis. Axes: backbone."),
        (("axes: {backbone: [a, b]}", ""), "runs: {backbone}: {backbone} is no axis. The grid has no axes."),
        (('model.backbone: "{backbone}"', "model.backbone: {backbone}"), 'no text in YAML: write "{backbone}".'),
        (("crop: true", "crop: 2024-05-01"), "crop: YAML takes 2024-05-01 for a date: write it in quotes."),
        (("run: tokencut", "run: [tokencut]"), "cell 4: run must be text, got ['tokencut']."),
        (("{method: TokenCut}", "TokenCut"), "cell 4: labels must hold 'name: value' lines, got 'TokenCut'."),
        (("config: tokencut", "config: 1, options: [a]"), "runs: tokencut: options must hold 'name: value' lines"),
        (("config: tokencut", "config: null"), "runs: tokencut: config must be text, got nothing."),
    ],
)
def test_mistake_in_a_grid_is_named(tmp_path, change, said):
    assert change[0] in GRID
    (tmp_path / "grid.yaml").write_text(GRID.replace(*change))
    with pytest.raises(UserError) as error:
        read_grid(tmp_path / "grid.yaml")
    assert said in str(error.value)


@pytest.mark.parametrize(("key", "value"), [("cells", "{a: 1}"), ("runs", "[a]")])
def test_runs_and_cells_of_a_wrong_type_are_told(tmp_path, key, value):
    content = yaml.safe_load(GRID) | {key: yaml.safe_load(value)}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=f"grid.yaml: {key} must "):
        read_grid(tmp_path / "grid.yaml")


def test_a_single_value_is_a_list_of_one(tmp_path):
    single = {"data": "ecssd", "metrics": "corloc", "seeds": 3, "axes": {"backbone": "a", "tau": 0.1}}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(yaml.safe_load(GRID) | single))
    grid = read_grid(tmp_path / "grid.yaml")
    assert (grid.data, grid.metrics, grid.seeds) == (["ecssd"], ["corloc"], [3])
    assert grid.axes == {"backbone": ["a"], "tau": [0.1]}


def test_keys_without_a_value_are_as_if_left_out(tmp_path):
    left_out = {"paper": None, "metrics": None, "seeds": None}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(yaml.safe_load(GRID) | left_out))
    grid = read_grid(tmp_path / "grid.yaml")
    assert (grid.paper, grid.metrics, grid.seeds) == (None, ["acc", "iou", "max_fbeta"], [0])


def test_braces_that_hold_no_word_are_ordinary_text(tmp_path):
    texts = GRID.replace("crop: true", "crop: 'F{1}, {}, {a b}, }{'")
    (tmp_path / "grid.yaml").write_text(texts)
    assert read_grid(tmp_path / "grid.yaml").cells[1]["labels"]["crop"] == "F{1}, {}, {a b}, }{"


@pytest.mark.parametrize("path", packaged_experiments().values(), ids=packaged_experiments())
def test_grids_that_ship_are_read_as_they_are_written(path):
    content, grid = yaml.safe_load(path.read_text()), read_grid(path)
    assert {key: getattr(grid, key) for key in content} == content


def test_unknown_axis_lists_those_of_the_grid(tmp_path):
    (tmp_path / "grid.yaml").write_text(GRID)
    with pytest.raises(UserError, match=r"Axes here: backbone=a,b\."):
        with_axes(read_grid(tmp_path / "grid.yaml"), ["head=a"])


def test_axis_of_a_grid_without_axes_is_told(tmp_path):
    (tmp_path / "grid.yaml").write_text("title: t\nprotocol: fullres\ndata: ecssd\nruns: {}\ncells: []\n")
    with pytest.raises(UserError, match=r"^--axis crop=bogus: this grid has no axes to change\."):
        with_axes(read_grid(tmp_path / "grid.yaml"), ["crop=bogus"])


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
