import os
from pathlib import Path

import pytest
import yaml
from wandb import Settings

from .experiment_fake import GRID, make_fake

fake = pytest.fixture(make_fake)

ONE = ("--axis", "backbone=a", "--seeds", "0", "--data", "ecssd")


def names(calls):
    return [words[words.index("--name") + 1] for words in calls]


def test_finished_runs_are_skipped(fake, capsys):
    assert fake.run(*ONE) == 0
    assert names(fake.calls()) == ["mine/a-s0", "mine/a-crop-s0", "mine/tokencut-ecssd"]
    before = (fake.folder / "runs/mine/results.csv").read_text()
    assert fake.run(*ONE) == 0
    assert fake.calls() == []
    assert capsys.readouterr().out.count("finished before") == 3
    assert (fake.folder / "runs/mine/results.csv").read_text() == before


def test_results_of_a_half_trained_run_do_not_finish_it(fake):
    fake.order("fail", "a-s0")
    fake.run(*ONE)
    (fake.folder / "fail").unlink()
    other = fake.folder / "runs/mine/a-crop-s0/test/0-fullres.json"
    (fake.folder / "runs/mine/a-s0/test/0-fullres.json").write_text(other.read_text())
    fake.calls()
    assert fake.run(*ONE) == 0
    assert names(fake.calls()) == ["mine/a-s0"]


def test_results_older_than_the_checkpoint_are_scored_again_without_training(fake):
    fake.run(*ONE)
    fake.calls()
    os.utime(fake.folder / "runs/mine/a-s0/test/0-fullres.json", (1, 1))
    assert fake.run(*ONE) == 0
    words = ["--model.backbone", "a", "--data", "ecssd", "--protocol", "fullres"]
    assert fake.calls() == [["test", "--run", "runs/mine/a-s0", *words]]


def test_other_options_are_refused_by_name_and_nothing_is_mixed(fake, capsys):
    assert fake.run(*ONE, "--subset", "8") == 0
    before = (fake.folder / "runs/mine/plan.yaml").read_text()
    fake.calls()
    for words, message in [
        (("--subset", "9"), "a-s0 data.train_limit 8, now 9"),
        ((), "a-s0 data.train_limit 8, now not given"),
        (("--subset", "8", "--model.tau", "0.3"), "a-s0 model.tau not given, now 0.3"),
        (("--subset", "8", "--protocol", "sod"), "a-s0 protocol fullres, now sod"),
        (("--subset", "8", "--seeds", "1"), "also holds the run a-s0"),
    ]:
        assert fake.run(*ONE, *words) == 2
        error = capsys.readouterr().err
        assert message in error
        assert "another --name" in error
    assert fake.calls() == []
    assert (fake.folder / "runs/mine/plan.yaml").read_text() == before
    assert fake.run(*ONE, "--subset", "9", "--name", "other") == 0


def test_configs_are_compared_by_their_content_wherever_they_lie(fake, capsys):
    (fake.folder / "mine/own.yaml").write_text("model: {init_args: {tau: 0.3}}")
    fake.write(GRID.replace("config: sempart_tricks", "config: own.yaml"))
    assert fake.run(*ONE) == 0
    fake.calls()
    (fake.folder / "mine/own.yaml").rename(fake.folder / "moved.yaml")
    fake.write(GRID.replace("config: sempart_tricks", f"config: {fake.folder}/moved.yaml"))
    assert fake.run(*ONE) == 0
    (fake.folder / "moved.yaml").write_text("# the same\nmodel:\n  init_args: {tau: 0.3}\nwandb: offline")
    assert fake.run(*ONE) == 0
    (fake.folder / "moved.yaml").write_text("model: {init_args: {tau: 0.4}}")
    assert fake.run(*ONE) == 2
    assert "a-crop-s0 model.tau 0.3, now 0.4" in capsys.readouterr().err
    assert fake.calls() == []


def test_plan_of_a_version_without_the_content_of_configs_is_continued(fake):
    assert fake.run(*ONE) == 0
    path = fake.folder / "runs/mine/plan.yaml"
    plan = yaml.safe_load(path.read_text())
    del plan["configs"]
    plan["runs"]["a-s0"]["config"] = "/elsewhere/sempart.yaml"
    path.write_text(yaml.safe_dump(plan))
    assert fake.run(*ONE) == 0
    assert "configs" in fake.plan()


def test_seeds_may_be_added_and_the_folder_of_the_data_may_move(fake):
    assert fake.run(*ONE) == 0
    fake.calls()
    assert fake.run("--axis", "backbone=a", "--data", "ecssd", "--seeds", "0", "1", "--data.root", "elsewhere") == 0
    assert names(fake.calls()) == ["mine/a-s1", "mine/a-crop-s1"]


def test_wandb_gets_the_experiment_as_group_and_the_cells_labels_as_tags(fake):
    fake.run(*ONE, "--wandb", "offline")
    call = fake.calls_with_environment()[0]
    assert call["WANDB_RUN_GROUP"] == "mine"
    assert call["WANDB_JOB_TYPE"] == "a", "the same for all seeds"
    assert call["WANDB_TAGS"] == "backbone=a,crop=false,filter=false,filter=true"
    assert call["words"][call["words"].index("--wandb") + 1] == "offline"


def test_trainings_of_another_experiment_are_taken_over_and_only_scored(fake, capsys):
    fake.run(*ONE)
    fake.calls()
    fake.write(GRID.replace("protocol: fullres", "protocol: sod").replace("[ecssd, voc12]", "[voc12]"), "second")
    words = ["--axis", "backbone=a", "--seeds", "0", "1", "--reuse", "runs/mine"]
    assert fake.run(*words, name="second") == 0
    assert "a-s0 from runs/mine/a-s0" in capsys.readouterr().out
    calls = fake.calls()
    assert [words[:3] for words in calls if words[0] == "test" and "--run" in words] == [
        ["test", "--run", "runs/second/a-s0"],
        ["test", "--run", "runs/second/a-crop-s0"],
    ]
    assert names(words for words in calls if words[0] == "fit") == ["second/a-s1", "second/a-crop-s1"]
    assert (fake.folder / "runs/second/a-s0").resolve() == fake.folder / "runs/mine/a-s0"
    assert fake.run(*words[:-2], name="second") == 0, "the link stays"
    assert fake.calls() == []


def test_a_system_that_refuses_links_is_explained(fake, capsys, monkeypatch):
    def refuse(*_, **__):
        raise OSError("A required privilege is not held by the client")

    fake.run(*ONE)
    fake.write(GRID, "second")
    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert fake.run(*ONE, "--reuse", "runs/mine", name="second") == 2
    error = capsys.readouterr().err
    assert "A required privilege is not held by the client" in error
    assert "developer mode" in error


def test_training_with_other_options_is_not_taken_over(fake):
    fake.run(*ONE, "--model.tau", "0.3")
    fake.write(GRID, "second")
    assert fake.run(*ONE, "--reuse", "runs/mine", name="second") == 0
    assert not any(path.is_symlink() for path in (fake.folder / "runs/second").iterdir())


@pytest.mark.parametrize(
    ("before", "now", "taken"),
    [
        (["--data.test_limit", "8"], [], False),
        (["--data.test_limit", "8"], ["--data.test_limit", "8"], True),
        (["--model.refine_at", "full"], [], False),
        (["--model.bilateral_preset", "tokencut"], ["--model.bilateral_preset", "two-tricks"], False),
        ([], ["--model.bilateral_preset", "two-tricks"], True),
    ],
)
def test_what_changes_scores_without_a_trace_in_them_is_not_taken_over(fake, before, now, taken):
    fake.run(*ONE, *before)
    fake.write(GRID, "second")
    assert fake.run(*ONE, *now, "--reuse", "runs/mine", name="second") == 0
    assert (fake.folder / "runs/second/a-s0").is_symlink() is taken


def test_tags_are_such_as_wandb_takes(fake):
    long = "x" * 100
    fake.write(GRID.replace("method: TokenCut", f"method: 'a,{long}'"))
    assert fake.run(*ONE) == 0
    tags = fake.calls_with_environment()[-1]["WANDB_TAGS"]
    assert Settings(run_tags=tags.split(",")).run_tags == (f"method=a;{long}"[:64],)
