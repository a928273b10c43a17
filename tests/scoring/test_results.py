import json

import pytest

from segtricks.errors import UserError
from segtricks.scoring.results import flat_config, is_before, main_row, read_results

from ..conftest import result


def test_run_gives_a_result_for_each_test_set_and_row(make_run):
    voc = result("voc12", "two-tricks", mask={"corloc": 0.5})
    run = make_run(
        "a", {"ecssd-0-4": result(mask={"iou": 0.5}, refined={"iou": 0.6, "acc": None}), "voc": voc}, crop=True
    )
    found = read_results(run)
    assert [(r.run, r.dataset, r.protocol, r.row, r.metrics) for r in found] == [
        ("a", "ecssd[:4]", "fullres", "mask", {"iou": 0.5}),
        ("a", "ecssd[:4]", "fullres", "mask + guided filter", {"iou": 0.6}),
        ("a", "voc12", "two-tricks", "mask", {"corloc": 0.5}),
    ]
    assert found[0].options["model.crop"] == "true"


@pytest.mark.parametrize("dataset", ["ecssd[:4]", "x-before"])
def test_scores_before_training_are_left_out_whatever_the_set_is_called(make_run, dataset):
    content = result(dataset, mask={"iou": 0.1})
    run = make_run("a", {"set-before" if dataset[0] == "e" else "x-before": content})
    expected = [] if dataset[0] == "x" else [run / "test" / "set-before.json"]
    assert [file for file in sorted((run / "test").iterdir()) if is_before(file)] == expected


def test_a_file_that_a_killed_test_has_left_half_written_is_not_a_result(make_run):
    run = make_run("a", {"ecssd": result(mask={"iou": 0.5}), ".ecssd-a1b2c3d4": result(mask={"iou": 0.25})})
    (run / "test/.ecssd-before-a1b2c3d4.json").write_text("{")
    assert [each.metrics for each in read_results(run)] == [{"iou": 0.5}]


def test_config_is_flat_in_the_names_of_the_command_line_without_folders(make_run):
    config = {
        "model": {
            "class_path": "segtricks.methods.Sempart",
            "init_args": {"optimizer": None, "refiner": {"radius": 9}},
        },
        "data": {"init_args": {"root": "/home/x", "size": 320, "test": ["ecssd"]}},
        "trainer": {"max_epochs": 5, "enable_progress_bar": False},
    }
    assert flat_config(config) == {
        "model.class_path": "Sempart",
        "model.optimizer": "none",
        "model.refiner.radius": "9",
        "data.size": "320",
        "trainer.max_epochs": "5",
    }


def test_file_of_evaluate_is_called_by_its_folders_of_masks_and_targets(tmp_path):
    each = {"protocol": {"name": "sod"}, "images": 3, "metrics": {"iou": 0.5}}
    paths = [{"predictions": f"/x/y/{name}", "targets": "/d/ECSSD/gt"} for name in "ab"]
    (tmp_path / "r.json").write_text(json.dumps({"results": [path | each for path in paths]}))
    found = read_results(tmp_path / "r.json")
    assert [(r.run, r.dataset, r.images) for r in found] == [("y/a", "ECSSD/gt", 3), ("y/b", "ECSSD/gt", 3)]


TABLE = """\
backbone,crop,train_limit,fraction,seed,dataset,images,row,acc,iou,iou_std,speed,note
dino,true,320,0.5,0,ecssd,80,mask,1,0.25,0.1,1.5,
dino,true,320,0.5,1,ecssd,80,mask,0,,,2.5,
"""


def test_columns_of_a_table_are_measures_or_what_tells_rows_apart(tmp_path):
    """Numbers that were chosen (320, 0.5) are no figures, and an accuracy of 1 is."""
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "results.csv").write_text(TABLE)
    first, second = read_results(tmp_path / "study")
    assert first.metrics == {"acc": 1, "iou": 0.25, "speed": 1.5}
    assert second.metrics == {"acc": 0, "speed": 2.5}
    assert first.spread == {"iou": 0.1}
    assert (first.run, first.dataset, first.row, first.images) == ("study", "ecssd", "mask", 80)
    assert first.options == {"backbone": "dino", "crop": "true", "train_limit": "320", "fraction": "0.5", "seed": "0"}


def test_main_row_is_the_one_whose_figures_are_the_files_own():
    content = result(mask={"iou": 0.5}, refined={"iou": 0.6})
    assert main_row(content) == "mask + guided filter"
    assert main_row(content | {"metrics": {"iou": 0.5}}) == "mask"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", "{", "not a result file"),
        ("a.json", "[1]", "not a result file"),
        ("a.json", '{"images": 3}', "not a result file"),
        ("a.csv", "name,words\na,b\n", "name, words"),
        ("a.csv", "", "no column"),
        ("missing", None, "config.yaml"),
    ],
)
def test_what_holds_no_scores_is_named(tmp_path, monkeypatch, name, content, said):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=said) as error:
        read_results(tmp_path / name)
    assert name in str(error.value)


def test_run_without_tests_is_told_how_to_get_some(make_run):
    with pytest.raises(UserError, match="segtricks test --run"):
        read_results(make_run("a", {}))


def test_options_of_training_are_left_out_where_nothing_is_trained():
    config = {
        "model": {"class_path": "segtricks.methods.Discovery", "init_args": {"method": "tokencut", "tau": 0.2}},
        "data": {"init_args": {"train": "duts-tr", "batch_size": 8, "held_out": 0.02, "size": 320, "jitter": [0.4]}},
        "trainer": {"max_epochs": 5, "gradient_clip_val": 1.0, "precision": "32"},
        "seed_everything": 3,
        "on_collapse": "warn",
    }
    shown = {"model.class_path", "model.method", "model.tau", "data.size", "trainer.precision"}
    assert flat_config(config).keys() == shown
    config["model"]["init_args"]["optimizer"] = None
    assert {"data.train", "data.batch_size", "data.held_out", "trainer.max_epochs"} < flat_config(config).keys()


def test_masks_that_were_trained_on_are_an_option_without_their_folder():
    config = {"model": {"class_path": "SelfMask", "init_args": {"optimizer": None}}}
    config["data"] = {"init_args": {"masks": "/home/x/tokencut"}}
    assert flat_config(config)["data.masks"] == "tokencut"


def test_seed_of_a_method_that_makes_its_own_optimiser_is_kept_where_it_was_trained(make_run):
    run = make_run("a", {"ecssd": result(mask={"iou": 0.5})}, seed=3)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("optimizer: null", "width: 8"))
    assert "seed_everything" not in read_results(run)[0].options
    (run / "metrics.csv").write_text("epoch,step\n")
    assert read_results(run)[0].options["seed_everything"] == "3"
