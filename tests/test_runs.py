import fcntl
import json
import os
import sys
from pathlib import Path

import filelock  # noqa: F401, before a test hides fcntl from it
import pytest

from segtricks.errors import UserError
from segtricks.runs import (
    checkpoint_of,
    checkpoints_to_resume,
    existing_run,
    file_name,
    hold,
    new_run,
    replacing,
    write_csv,
    write_json,
)


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make_run(path, tmp_path):
    (tmp_path / path).mkdir(parents=True)
    (tmp_path / path / "config.yaml").write_text("{}")


def test_name_is_the_configs_and_the_next_free_number(tmp_path):
    assert str(new_run(None, "demo")) == "runs/demo-1"
    for name in ("demo-1", "demo-10", "demo-x", "other-30"):
        make_run(f"runs/{name}", tmp_path)
    assert str(new_run(None, "demo")) == "runs/demo-11"


def test_existing_name_is_refused_with_the_two_ways_out(tmp_path):
    make_run("runs/mine", tmp_path)
    with pytest.raises(UserError, match=r"--resume.*another --name"):
        new_run("mine", "demo")


@pytest.mark.parametrize("left", [(), (".lock", ".config-a1b2c3d4.yaml")])
def test_a_folder_that_a_killed_run_left_empty_may_be_begun_again(tmp_path, left):
    (tmp_path / "runs/mine").mkdir(parents=True)
    for name in left:
        (tmp_path / "runs/mine" / name).touch()
    assert new_run("mine", "demo") == Path("runs/mine")
    (tmp_path / "runs/mine/notes.txt").touch()
    with pytest.raises(UserError, match="not overwritten"):
        new_run("mine", "demo")


def test_resuming_is_offered_only_where_it_is_possible(tmp_path):
    make_run("runs/x", tmp_path)
    with pytest.raises(UserError, match=r"not overwritten\. Next: pass another --name\.$"):
        new_run("x", "demo", resumable=False)


@pytest.mark.parametrize("name", ["../up", "a/../b", "/a", "a/", "a//b", "a/.b", "", ".hidden", "a b"])
def test_name_stays_inside_the_runs_folder(name):
    with pytest.raises(UserError, match="not a plain folder name"):
        new_run(name, "demo")


def test_run_is_found_by_path_and_by_name(tmp_path):
    make_run("runs/mine", tmp_path)
    assert existing_run("runs/mine") == existing_run("mine")


def test_run_may_lie_in_the_folder_of_an_experiment(tmp_path):
    assert str(new_run("table3/vits8-s0", "demo")) == "runs/table3/vits8-s0"
    make_run("runs/table3/vits8-s0", tmp_path)
    with pytest.raises(UserError, match="not overwritten"):
        new_run("table3/vits8-s0", "demo")
    assert existing_run("table3/vits8-s0") == existing_run("runs/table3/vits8-s0")
    with pytest.raises(UserError, match=r"Runs here: runs/table3/vits8-s0\."):
        existing_run("vits8-s0")


def test_missing_run_lists_those_that_are_there(tmp_path):
    make_run("runs/mine", tmp_path)
    with pytest.raises(UserError, match="runs/mine"):
        existing_run("nine")


def test_best_checkpoint_is_preferred_and_last_is_the_fallback(tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    with pytest.raises(UserError, match="no checkpoint"):
        checkpoint_of(tmp_path / "run")
    (folder / "last-1.ckpt").touch()  # killed between two renames, a run has no other
    assert checkpoint_of(tmp_path / "run").name == "last-1.ckpt"
    (folder / "last.ckpt").touch()
    assert checkpoint_of(tmp_path / "run").name == "last.ckpt"
    (folder / "best.ckpt").touch()
    assert checkpoint_of(tmp_path / "run").name == "best.ckpt"
    assert checkpoint_of(tmp_path / "run", "last").name == "last.ckpt"
    assert [path.stem for path in checkpoints_to_resume(tmp_path / "run")] == ["last", "last-1", "best"]


def test_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with replacing(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["file.txt"]


def test_content_is_on_the_disk_before_the_old_file_goes(tmp_path, monkeypatch):
    path, seen = tmp_path / "file.txt", []
    path.write_text("old")
    monkeypatch.setattr("os.fsync", lambda handle: seen.append((os.fstat(handle).st_size, path.read_text())))
    with replacing(path) as temporary:
        temporary.write_text("newer")
    assert seen == [(5, "old")]
    assert path.read_text() == "newer"
    with replacing(path, durable=False) as temporary:
        temporary.write_text("newest")
    assert len(seen) == 1


def test_content_is_flushed_through_a_file_open_for_writing_which_windows_asks_for(tmp_path, monkeypatch):
    modes = []
    monkeypatch.setattr("os.fsync", lambda handle: modes.append(fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE))
    with replacing(tmp_path / "file.txt") as temporary:
        temporary.write_text("new")
    assert modes == [os.O_RDWR]


@pytest.mark.parametrize("system", ["posix", "windows"])
def test_a_lock_is_held_once_and_is_free_afterwards(tmp_path, monkeypatch, system):
    if system == "windows":
        monkeypatch.setitem(sys.modules, "fcntl", None)  # importing it fails
    path = tmp_path / ".lock"
    for _ in range(2):
        with hold(path, "held elsewhere", inherited=True) as descriptor:
            assert (descriptor is None) == (system == "windows")
            with pytest.raises(UserError, match="held elsewhere"), hold(path, "held elsewhere", inherited=True):
                pass


def test_written_file_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "plain").touch()
    with replacing(tmp_path / "ours") as temporary:
        temporary.touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_nan_is_null_in_json(tmp_path):
    write_json(tmp_path / "a.json", {"iou": float("nan"), "name": "Ä"})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"iou": None, "name": "Ä"}


def test_csv_has_the_columns_of_all_lines(tmp_path):
    write_csv(tmp_path / "a.csv", [{"image": "a", "iou": 0.5}, {"image": "b", "corloc": 1}])
    assert (tmp_path / "a.csv").read_text(encoding="utf-8").split() == ["image,iou,corloc", "a,0.5,", "b,,1"]


@pytest.mark.parametrize(
    ("name", "plain"), [("ecssd[320:]", "ecssd-320-end"), ("sod:beta2=1", "sod-beta2-1"), ("a/b c.d", "a-b-c-d")]
)
def test_names_become_plain_file_names(name, plain):
    assert file_name(name) == plain


def test_a_folder_that_cannot_be_written_to_is_named_by_the_file_that_was_to_be_written(tmp_path, monkeypatch):
    def refuse(**options):
        raise PermissionError(13, "Permission denied", "/.a-1234.json")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(PermissionError) as caught, replacing(tmp_path / "a.json"):
        pass
    assert caught.value.filename == str(tmp_path / "a.json")
