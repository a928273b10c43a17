import json
import shlex
from io import StringIO

import pytest
import yaml

from segtricks.cli import main
from segtricks.commands import experiment
from segtricks.errors import UserError
from segtricks.experiments import run as experiment_run
from segtricks.experiments.plan import Run
from segtricks.packaged import find_grid

from ..experiments.experiment_fake import make_fake
from .conftest import SMALL

fake = pytest.fixture(make_fake)

REAL = """
title: Two real trainings
protocol: fullres
data: ['synthetic[14:18]']
metrics: [acc, iou]
runs:
  plain: {command: fit, config: synthetic, options: {model.crop: false, model.guided_filter: false}}
  tricks: {command: fit, config: synthetic}
cells:
  - {labels: {crop: false, guided_filter: false}, run: plain, row: mask}
  - {labels: {crop: false, guided_filter: true}, run: plain, row: mask + guided filter}
  - {labels: {crop: true, guided_filter: true}, run: tricks, row: mask + guided filter}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the grid of two real trainings, which run in this process: a new one imports for seconds."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real/grid.yaml").write_text(REAL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiment_run, "_execute", lambda words, *_: main(words[3:]))
    return tmp_path


def test_real_trainings_give_the_table_of_their_result_files(here, capsys):
    options = [word for word in SMALL[2:] if word not in ("--data.test", "['synthetic[14:18]']")]
    assert main(["experiment", "real", "--name", "tiny", *options, "--trainer.max_epochs", "1"]) == 0
    out = capsys.readouterr().out
    rows = {
        name: json.loads((here / f"runs/tiny/{name}-s0/test/synthetic-14-18.json").read_text())["rows"]
        for name in ("plain", "tricks")
    }
    cells = [("no", "no", "plain", "mask"), ("no", "yes", "plain", "mask + guided filter")]
    cells += [("yes", "yes", "tricks", "mask + guided filter")]
    for crop, filtered, name, row in cells:
        metrics = rows[name][row]
        assert f"| {crop} | {filtered} | {metrics['acc']:.4f} | {metrics['iou']:.4f} |" in out
    configs = [yaml.safe_load((here / f"runs/tiny/{name}-s0/config.yaml").read_text()) for name in rows]
    assert [config["model"]["init_args"]["crop"] for config in configs] == [False, True]
    for name in ("plan.yaml", "results.csv", "table.md", "figure.png"):
        assert (here / "runs/tiny" / name).is_file()


def test_dry_run_prints_commands_to_copy_and_the_cells_that_share_them(fake, capsys):
    assert fake.run("--axis", "backbone=a b", "--seeds", "0", "--dry-run") == 0
    out = capsys.readouterr().out
    assert not (fake.folder / "runs").exists()
    first, *_, last = out.strip().split("\n\n")
    *cells, command = first.splitlines()
    assert cells == [
        "# backbone=a b, crop=false, filter=false (row: mask)",
        "# backbone=a b, crop=false, filter=true (row: mask + guided filter)",
    ]
    assert shlex.split(command) == [
        *("segtricks", "fit", "--config", "sempart", "--name", "mine/a-b-s0", "--model.backbone", "a b"),
        *("--seed_everything", "0", "--data.test", '["ecssd", "voc12"]', "--model.protocol", "fullres"),
    ]
    assert last == "# 4 runs for 4 cells, into runs/mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Which experiment?"),
        (["table9"], "Packaged: mini_ablation, "),
        (["mine", "--data.test", "ecssd"], "pass --data"),
        (["mine", "--seed_everything=3"], "pass --seeds"),
        (["mine", "--model.protocol", "sod"], "pass --protocol"),
        (["mine", "--sedes", "1"], "Unknown option --sedes. Did you mean --seeds?"),
        (["--dry-run", "--model.tau", "0.3"], "Write its name first"),
        (["mine", "--seeds", "x"], "invalid int value"),
        (["mine", "--resume"], "goes on by itself"),
        (["mine", "--name", "../x"], "not a plain folder name"),
        (["mine", "--reuse", "runs/nine"], "holds no plan.yaml"),
        (["mine", "--axis", "backbone"], "Axes here: backbone=a,b"),
    ],
)
def test_mistakes_are_reported_before_anything_runs(fake, capsys, words, message):
    assert main(["experiment", *words]) == 2
    assert message in capsys.readouterr().err
    assert fake.calls() == []


def test_dry_run_looks_at_the_options_and_not_for_files(fake, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(experiment, "check_runs", lambda runs, files: asked.append(([r.name for r in runs], files)))
    assert fake.run("--axis", "backbone=a", "--seeds", "0", "--data", "ecssd", "--dry-run") == 0
    assert asked == [(["a-s0", "a-crop-s0", "tokencut-ecssd"], False)]

    def wrong(*_, **__):
        raise UserError("Unknown option tauu.")

    capsys.readouterr()
    monkeypatch.setattr(experiment, "check_runs", wrong)
    assert fake.run("--dry-run", "--model.tauu", "1") == 2
    assert capsys.readouterr() == ("", "segtricks: Unknown option tauu.\n")


def test_the_name_may_stand_behind_options_and_their_values(fake, monkeypatch, capsys):
    monkeypatch.setattr(experiment, "check_runs", lambda *_, **__: None)
    plans = []
    for words in (["mine", "--dry-run"], ["--dry-run", "mine"]):
        assert main(["experiment", *words, "--model.tau=0.3", "--seeds", "0"]) == 0
        plans.append(capsys.readouterr().out)
    assert main(["experiment", "--model.tau", "0.3", "--seeds", "0", "--dry-run", "mine"]) == 0
    assert plans[0] == plans[1] == capsys.readouterr().out
    assert "--model.tau=0.3" in plans[0]


GOOD = ("--model.backbone", "descriptor", "--data.train", "synthetic[:20]")


def run(name, *words, command="fit", config="sempart", data=("synthetic[:4]",)):
    return Run(name, name, command, config, words, data, "fullres", 0 if command == "fit" else None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model.tauu", "1"), "second: Unknown option model.tauu. Did you mean model.tau"),
        (("--model.crop_fraction", "abc"), "second: model.crop_fraction must be a number, got 'abc'"),
        (("--model.backbone_checkpoint", "weights/x.pth"), "there is no file weights/x.pth"),
        (("--data.train", "nowhere"), "second: .*nowhere"),
        (("--data.root", "nowhere", "--data.train", "duts-tr"), "segtricks data download duts-tr"),
    ],
)
def test_first_mistake_of_any_run_is_reported_with_its_name(words, message):
    masks = run("masks", command="masks", config="DIR")
    runs = [run("first", *GOOD), masks, run("second", *GOOD, *words), run("third", "--nonsense", "1")]
    with pytest.raises(UserError, match=message):
        experiment.check_runs(runs)


def test_test_sets_are_looked_for():
    with pytest.raises(UserError, match=r"free: .*nowhere"):
        experiment.check_runs([run("free", command="test", config="lost", data=("nowhere",))])


def test_files_may_be_on_other_machines_but_options_may_not():
    elsewhere = ("--data.train", "nowhere", "--model.backbone_checkpoint", "x.pth")
    experiment.check_runs([run("a", *elsewhere)], files=False)
    with pytest.raises(UserError, match=r"Unknown option model\.tauu"):
        experiment.check_runs([run("a", *elsewhere, "--model.tauu", "1")], files=False)


def test_mistake_starts_nothing_and_leaves_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["experiment", "mini_synthetic", "--model.tauu", "1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("segtricks: plain-s0: Unknown option model.tauu. Did you mean model.tau?\nAllowed: model.")
    assert error.endswith("\nNothing was started.\n")
    assert not list(tmp_path.iterdir())


def test_packaged_experiments_are_found_by_the_start_of_their_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_grid("table3") == find_grid("table3_ablation_saliency") == find_grid("experiments/table3")
    with pytest.raises(UserError, match=r"Packaged: mini_ablation, .*table1_saliency, table2_corloc"):
        find_grid("table")


def test_help_needs_no_experiment(capsys):
    assert main(["experiment", "--help"]) == 0
    assert "--reuse runs/OTHER" in capsys.readouterr().out


def test_default_folder_is_the_papers_table(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiment, "check_runs", lambda *_, **__: None)
    assert main(["experiment", "table3", "--dry-run", "--seeds", "0", "1"]) == 0
    lines = [line for line in StringIO(capsys.readouterr().out) if line.startswith("segtricks")]
    assert len(lines) == 3 * 3 * 2
    assert "--name table3/dino_vits8-crop-s1 " in lines[3]
