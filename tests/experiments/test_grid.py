import pytest
import yaml

from segtricks.errors import UserError
from segtricks.experiments.grid import read_grid, with_axes
from segtricks.packaged import packaged_experiments

from .experiment_fake import GRID


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("title:", "titel:"), "Option 'titel' is not accepted"),
        (("protocol: fullres", ""), "the following arguments are required: protocol"),
        (("command: test", "command: discover"), "command: Expected a Literal['fit', 'test', 'masks']. Got value: "),
        (("command: test, ", ""), "runs: the following arguments are required: command"),
        (("title: Fakes", "title: ["), "is not valid YAML"),
        (("title: Fakes", "title: F\npaper: three"), "paper: Expected one of int, NoneType Given value: three"),
        (("data: [ecssd, voc12]", "data: 5"), "data: Expected a str. Got value: 5"),
        (("data: [ecssd, voc12]", "data: []"), "data is empty"),
        (("metrics: [iou]", "metrics: [iuo]"), "metrics: Expected a Literal['acc', 'iou', 'max_fbeta', "),
        (("seeds: [0, 1]", "seeds: [-1]"), "-1 does not conform to restriction v>=0"),
        (("axes: {backbone: [a, b]}", "axes: {backbone: []}"), "backbone is empty"),
        (("run: tokencut", "run: [tokencut]"), "cells: run: Expected one of str, NoneType Given value: ['tokencut']"),
        (("crop: true", "crop: 2024-05-01"), "Given value: 2024-05-01"),
        (("command: test, config: tokencut", "command: test"), "the run tokencut has no config"),
    ],
)
def test_message_has_the_key_and_the_value(tmp_path, change, message):
    assert change[0] in GRID
    (tmp_path / "grid.yaml").write_text(GRID.replace(*change))
    with pytest.raises(UserError) as error:
        read_grid(tmp_path / "grid.yaml")
    assert "grid.yaml" in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_text_in_quotes_stays_text(tmp_path):
    """jsonargparse reads a text as YAML where any type is allowed."""
    values = "{a: '5', b: '1e-3', c: 'null', d: '[x]', e: 5, f: 0.5, g: no, h: [1, '2']}"
    (tmp_path / "grid.yaml").write_text(GRID.replace("{method: TokenCut}", values))
    labels = read_grid(tmp_path / "grid.yaml").cells[-1].labels
    assert labels == {"a": "5", "b": "1e-3", "c": "null", "d": "[x]", "e": 5, "f": 0.5, "g": False, "h": [1, "2"]}


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


@pytest.mark.parametrize("path", packaged_experiments().values(), ids=packaged_experiments())
def test_grids_that_ship_are_read_as_they_are_written(path):
    content, grid = yaml.safe_load(path.read_text()), read_grid(path)
    for key in content.keys() - {"runs", "cells"}:
        assert getattr(grid, key) == content[key]
    for name, run in content["runs"].items():
        assert {key: getattr(grid.runs[name], key) for key in run} == run
    for cell, written in zip(grid.cells, content["cells"], strict=True):
        assert {key: getattr(cell, key) for key in written} == written


@pytest.mark.parametrize(("change", "axes"), [("head=a", "backbone=a,b"), ("backbone", "backbone=a,b")])
def test_unknown_axis_lists_those_of_the_grid(tmp_path, change, axes):
    (tmp_path / "grid.yaml").write_text(GRID)
    with pytest.raises(UserError, match=rf"Axes here: {axes}\."):
        with_axes(read_grid(tmp_path / "grid.yaml"), [change])
