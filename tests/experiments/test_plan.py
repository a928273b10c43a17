import pytest
import yaml

from segtricks.errors import UserError
from segtricks.experiments.grid import Cell, read_grid, with_axes, with_masks, with_options
from segtricks.experiments.plan import ROWS, Run, expand
from segtricks.methods.base import PLAIN, REFINED, SOLVED
from segtricks.packaged import find_grid
from segtricks.scoring.published import published

from .experiment_fake import GRID


@pytest.fixture
def grid(tmp_path):
    (tmp_path / "grid.yaml").write_text(GRID)
    return read_grid(tmp_path / "grid.yaml")


def test_expansion_equals_the_one_written_by_hand(grid):
    grid = with_options(with_axes(grid, ["backbone=a"]), {"data.train": "photos", "data.train_limit": 6}, ["fit"])
    plan = expand(with_options(grid, {"data.test_limit": 6}, ["fit", "test"]), ["--data.root", "DIR"])
    limits = ("--data.train", "photos", "--data.train_limit", "6", "--data.test_limit", "6", "--data.root", "DIR")
    plain = ("--model.backbone", "a", *limits)
    crop = ("--model.backbone", "a", "--model.guided_filter", "false", *limits)
    free, both = ("--data.test_limit", "6", "--data.root", "DIR"), ("ecssd", "voc12")
    assert list(plan.runs.values()) == [
        Run("a-s0", "a", "fit", "sempart", plain, both, "fullres", 0),
        Run("a-s1", "a", "fit", "sempart", plain, both, "fullres", 1),
        Run("a-crop-s0", "a-crop", "fit", "sempart_tricks", crop, both, "fullres", 0),
        Run("a-crop-s1", "a-crop", "fit", "sempart_tricks", crop, both, "fullres", 1),
        Run("tokencut-ecssd", "tokencut", "test", "tokencut", free, ("ecssd",), "fullres"),
        Run("tokencut-voc12", "tokencut", "test", "tokencut", free, ("voc12",), "fullres"),
    ]
    assert plan.cells == [
        Cell({"backbone": "a", "crop": False, "filter": False}, "a", "mask"),
        Cell({"backbone": "a", "crop": True, "filter": False}, "a-crop", "mask"),
        Cell({"backbone": "a", "crop": False, "filter": True}, "a", "mask + guided filter"),
        Cell({"method": "TokenCut"}, "tokencut", "mask"),
    ]


def test_two_cells_share_one_training_where_the_filter_acts_at_test_alone(grid):
    plan = expand(grid)
    assert [cell.row for cell in plan.cells_of(plan.runs["b-s1"])] == ["mask", "mask + guided filter"]
    assert len(plan.runs) == 2 * 2 * 2 + 2, "a method without training runs once, whatever the axes and seeds"


def test_command_line_of_a_run_is_what_a_user_would_type(grid):
    plan = expand(with_axes(grid, ["backbone=a"]))
    assert plan.runs["a-crop-s1"].command_line("mine") == [
        *("fit", "--config", "sempart_tricks", "--name", "mine/a-crop-s1", "--model.backbone", "a"),
        *("--model.guided_filter", "false", "--seed_everything", "1", "--data.test", '["ecssd", "voc12"]'),
        *("--model.protocol", "fullres"),
    ]
    assert plan.runs["tokencut-voc12"].command_line("mine") == [
        *("test", "--config", "tokencut", "--name", "mine/tokencut-voc12", "--data", "voc12", "--protocol", "fullres"),
    ]


def test_extra_options_may_name_the_runs_own_backbone(grid):
    runs = expand(grid, extra=["--model.backbone_checkpoint", "weights/{backbone}.pth"]).runs
    assert runs["a-s0"].words[-1] == "weights/a.pth"
    assert runs["b-crop-s1"].words[-1] == "weights/b.pth"


def test_config_next_to_the_grid_comes_before_a_packaged_one(tmp_path, monkeypatch):
    (tmp_path / "grid.yaml").write_text(GRID)
    (tmp_path / "sempart").write_text("trainer: {}")
    monkeypatch.chdir(tmp_path)
    runs = expand(read_grid(tmp_path / "grid.yaml")).runs
    assert {run.config for run in runs.values()} == {"sempart", "sempart_tricks", "tokencut"}
    monkeypatch.chdir(tmp_path.parent)
    assert expand(read_grid(tmp_path / "grid.yaml")).runs["a-s0"].config == f"{tmp_path.name}/sempart"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("run: tokencut, row", "run: tokenkut, row"), "the run tokenkut, which does not exist. Runs: a, a-crop"),
        (("crop: true", "crop: false"), "same labels: backbone=a, crop=false, filter=false"),
        (('"{backbone}-crop":', "crop:"), "under the name crop-s0"),
        (("mask + guided filter}", "mask + guided fliter}"), "'mask + guided fliter'.\nAllowed: mask, mask + g"),
        (("tokencut, row: mask}", "tokencut}"), "The cell method=TokenCut: no run gives the row ''.\nAllowed: mask, "),
        (("crop: true", 'crop: "{bakbone}"'), "'{bakbone}': {bakbone} is not an axis. Axes of the grid: backbone."),
        (('  "{backbone}-crop"', '  "{head}-crop"'), "'{head}-crop': {head} is not an axis"),
        (("axes: {backbone: [a, b]}", ""), "{backbone} is not an axis. Axes of the grid: none."),
    ],
)
def test_runs_and_cells_that_contradict_each_other_are_named(tmp_path, change, message):
    assert change[0] in GRID
    (tmp_path / "grid.yaml").write_text(GRID.replace(*change))
    with pytest.raises(UserError) as error:
        expand(read_grid(tmp_path / "grid.yaml"))
    assert message in str(error.value)


def test_braces_that_hold_no_word_are_ordinary_text(tmp_path):
    (tmp_path / "grid.yaml").write_text(GRID.replace("crop: true", "crop: 'F{1}, {}, {a b}, }{'"))
    assert expand(read_grid(tmp_path / "grid.yaml")).cells[1].labels["crop"] == "F{1}, {}, {a b}, }{"


def test_rows_are_those_that_runs_give():
    assert (PLAIN, REFINED, SOLVED) == ROWS


def test_row_may_name_an_axis_and_published_numbers_need_none(tmp_path):
    content = yaml.safe_load(GRID)
    content["axes"] = {"backbone": "a", "row": ["mask", "mask + guided filter"]}
    content["cells"] = [
        {"labels": {"row": "{row}"}, "run": "{backbone}", "row": "{row}"},
        {"labels": {"method": "MOVE"}},
    ]
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(content))
    assert [cell.row for cell in expand(read_grid(tmp_path / "grid.yaml")).cells] == [
        "mask",
        "",
        "mask + guided filter",
    ]


def test_lists_of_an_option_may_name_axes(tmp_path):
    listed = GRID.replace('model.backbone: "{backbone}"}', 'model.backbone: ["{backbone}", 1]}')
    (tmp_path / "grid.yaml").write_text(listed)
    assert expand(read_grid(tmp_path / "grid.yaml")).runs["b-s0"].words == ("--model.backbone", '["b", 1]')


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_every_row_of_a_papers_table_has_its_published_numbers(number):
    grid = read_grid(find_grid(f"table{number}"))
    for cell in expand(grid).cells:
        for data in grid.data:
            for metric in grid.metrics:
                assert published(metric, data, table=number, **cell.labels) is not None, (cell, data, metric)


def test_table_4_trains_what_table_3_trains():
    trained = {run.name: (run.config, run.words) for run in expand(read_grid(find_grid("table3"))).runs.values()}
    for run in expand(read_grid(find_grid("table4"))).runs.values():
        assert trained[run.name] == (run.config, run.words)


def test_students_are_trained_once_their_masks_are_given_and_have_published_numbers_before():
    grid = read_grid(find_grid("table1"))
    cells = {cell.labels["method"]: cell.run for cell in expand(grid).cells if cell.labels.get("selfmask")}
    assert set(cells.values()) == {None}
    given = expand(with_masks(grid, {"selfmask-MOVE": "DIR"}))
    assert [run.name for run in given.runs.values() if "selfmask" in run.name] == ["selfmask-MOVE-s0"]
    words = given.runs["selfmask-MOVE-s0"].words
    assert words[words.index("--data.masks") + 1] == "DIR"
    (cell,) = [cell for cell in given.cells if cell.run == "selfmask-MOVE"]
    assert cell.labels == {"method": "MOVE", "selfmask": True}
