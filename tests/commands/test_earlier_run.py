"""Which options a training gets from an earlier run and from a COCO file of labels."""

import json

import pytest

from segtricks.commands.earlier_run import with_earlier_run
from segtricks.errors import UserError


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/old").mkdir(parents=True)
    (tmp_path / "runs/old/config.yaml").write_text("model: {}\n")
    return "runs/old"


def test_the_config_of_the_run_comes_before_all_others(run):
    for words in (["--model.from_run", "nowhere", "--model.from_run", run], [f"--model.from-run={run}"]):
        assert with_earlier_run(["demo"], words) == (["runs/old/config.yaml", "demo"], words)
    assert with_earlier_run(["demo"], ["--data.train", run]) == (["demo"], ["--data.train", run])


def test_a_run_that_a_config_names_is_taken_and_has_to_be_there(run, tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text(f"model: {{init_args: {{from_run: {run}}}}}\n")
    assert with_earlier_run([str(config)], [])[0] == ["runs/old/config.yaml", str(config)]
    with pytest.raises(UserError, match="No run at NAME"):
        with_earlier_run(["u2seg_fewshot"], [])


def test_categories_of_a_coco_file_become_classes_in_the_order_of_their_ids(run, tmp_path):
    file = tmp_path / "few.json"
    content = {"images": [], "annotations": [{"category_id": 4}]}
    content["categories"] = [{"id": 17, "name": "cat"}, {"id": 1, "name": "person"}]
    file.write_text(json.dumps(content))
    words = ["--data.masks", str(file), "--model.from_run", run]
    found = with_earlier_run([], words)[1]
    assert found[:4] == ["--model.num_things", "3", "--model.classes", '{"1": "person", "4": "4", "17": "cat"}']
    assert found[4:] == words, "what was typed comes last, and counts"
    config = tmp_path / "mine.yaml"
    config.write_text(f"model: {{init_args: {{from_run: {run}}}}}\ndata: {{init_args: {{masks: {file}}}}}\n")
    assert with_earlier_run([str(config)], [])[1] == found[:4], "also of a file that a config names"
    config.write_text(config.read_text().replace(run, f"{run}, classes: {{1: one}}"))
    assert with_earlier_run([str(config)], [])[1] == [], "but not above that config's own"
    file.write_text("[1]")
    with pytest.raises(UserError, match="not a COCO annotation file"):
        with_earlier_run([], words)
