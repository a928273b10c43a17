"""Runs that are killed, stopped or out of disk go on to the numbers and weights of one that nothing happened to."""

import csv
import os
import random
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image

from .launch import ended, run, start, wait_for

WORDS = [
    *("fit", "--config", "synthetic", "--data.size", "32", "--data.batch_size", "4", "--model.hidden_dim", "8"),
    *("--data.train", "synthetic[:26]", "--data.held_out", "2", "--test", "none", "--panels", "0"),
    *("--trainer.max_epochs", "2", "--trainer.enable_progress_bar", "false", "--trainer.log_every_n_steps", "1"),
    *("--save_every", "2"),
]
STEPS = 12
KILLS = 4  # of each teacher


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Folder of a run that nothing happened to, by teacher, and the seconds that it took."""
    folders = {teacher: tmp_path_factory.mktemp(teacher) for teacher in ("shared", "ema")}
    run(folders["ema"], ["--version"])  # all imports are done
    started = time.monotonic()
    children = {
        teacher: start(folder, [*WORDS, "--model.teacher", teacher, "--name", "x"])
        for teacher, folder in folders.items()
    }
    for teacher, child in children.items():
        ended(folders[teacher], child)
    return folders, time.monotonic() - started


def equal(one, other):
    """Compare nested content with tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def assert_same(folder, reference):
    """The run's every logged number, weights, optimiser, schedule and place are the reference's, and so is its best."""
    one, other = folder / "runs/x", reference / "runs/x"
    assert logged(one) == logged(other)
    for name in ("last", "best"):
        mine, theirs = (torch.load(path / f"checkpoints/{name}.ckpt", weights_only=True) for path in (one, other))
        for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch"):
            assert equal(mine[key], theirs[key]), (name, key)


def logged(run):
    """Every cell of ``metrics.csv`` but those that tell how fast the machine was, as text: not a bit may differ."""
    with (run / "metrics.csv").open(newline="") as file:
        return [{key: cell for key, cell in row.items() if "health/" not in key} for row in csv.DictReader(file)]


def rows(folder):
    path = folder / "runs/x/metrics.csv"
    return len(path.read_text().splitlines()) if path.is_file() else 0


def resume(teacher="shared"):
    """Words that start the run, and resume it once it is there: those of a batch script that is requeued."""
    return [*WORDS, "--model.teacher", teacher, "--name", "x", "--resume"]


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_numbers_and_weights(whole, tmp_path):
    folders, seconds = whole

    def kill_and_resume(teacher):
        """Kill and resume until enough are killed and the last run has come to its end."""
        moments = random.Random(teacher)
        killed, finished = 0, 0
        for _ in range(8 * KILLS):
            folder = tmp_path / teacher / str(finished)
            folder.mkdir(parents=True, exist_ok=True)
            child = start(folder, resume(teacher))
            child.join(moments.uniform(0.1, seconds) if killed < KILLS else 120)
            if child.is_alive():
                os.kill(child.pid, signal.SIGKILL)
                child.join()
                killed += 1
                continue
            assert child.exitcode == 0, (folder / "log").read_text()
            assert_same(folder, folders[teacher])
            finished += 1
            if killed == KILLS:
                break
        return killed

    with ThreadPoolExecutor() as pool:  # side by side: two processors, two teachers
        assert list(pool.map(kill_and_resume, folders)) == [KILLS, KILLS]


def test_killed_before_its_first_file_a_run_begins_again(whole, tmp_path):
    (tmp_path / "runs/x").mkdir(parents=True)
    (tmp_path / "runs/x/.lock").touch()
    (tmp_path / "runs/x/.config-a1b2c3d4.yaml").write_text("model:")
    run(tmp_path, resume())
    assert_same(tmp_path, whole[0]["shared"])


def test_sigterm_ends_a_run_after_its_step_and_nothing_is_done_twice(whole, tmp_path):
    child = start(tmp_path, resume())
    wait_for(lambda: rows(tmp_path) > 2, child)
    os.kill(child.pid, signal.SIGTERM)
    said = ended(tmp_path, child, status=130)
    step = torch.load(tmp_path / "runs/x/checkpoints/last.ckpt", weights_only=True)["global_step"]
    assert 0 < step < STEPS
    assert f"Stopped by a signal at step {step}. Next: segtricks fit --resume --name x" in said
    assert rows(tmp_path) == step + 1
    run(tmp_path, resume())
    assert_same(tmp_path, whole[0]["shared"])


def test_slurms_signal_also_requeues_the_job_which_then_goes_on(whole, tmp_path):
    scontrol = tmp_path / "bin/scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text('#!/bin/sh\necho "$@" > requeued\n')
    scontrol.chmod(0o755)
    slurm = {f"SLURM_{key}": "0" for key in ("PROCID", "LOCALID", "NODEID")} | {"SLURM_JOB_ID": "1042"}
    slurm |= {f"SLURM_{key}": "1" for key in ("NTASKS", "NTASKS_PER_NODE", "STEP_NUM_TASKS", "NNODES")}
    slurm |= {"PATH": f"{scontrol.parent}:{os.environ['PATH']}"}
    child = start(tmp_path, resume(), slurm)
    wait_for(lambda: rows(tmp_path) > 2, child)
    os.kill(child.pid, signal.SIGUSR1)
    assert "job 1042 is requeued" in ended(tmp_path, child, status=130)
    assert (tmp_path / "requeued").read_text() == "requeue 1042\n"
    run(tmp_path, resume(), environment=slurm)
    assert_same(tmp_path, whole[0]["shared"])


def test_a_full_disk_keeps_the_checkpoint_that_was_there_and_room_lets_the_run_go_on(whole, tmp_path):
    child = start(tmp_path, resume())
    last = tmp_path / "runs/x/checkpoints/last.ckpt"
    wait_for(last.is_file, child)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    before = last.read_bytes()
    said = run(tmp_path, resume(), status=2, largest_file=len(before) // 2)
    assert "could not be written (File too large)" in said
    assert "Next: segtricks fit --resume --name x, once there is room" in said
    assert last.read_bytes() == before
    assert not list(last.parent.glob(".*"))
    run(tmp_path, resume())
    assert_same(tmp_path, whole[0]["shared"])


def test_a_run_that_is_at_work_is_not_resumed_a_second_time_and_ctrl_c_ends_it(tmp_path):
    child = start(tmp_path, [*resume(), "--trainer.max_epochs", "100"])
    wait_for(lambda: rows(tmp_path) > 2, child)
    said = run(tmp_path, resume(), status=2)
    assert "runs/x is being trained by another process" in said
    assert child.is_alive()
    os.kill(child.pid, signal.SIGINT)
    said = ended(tmp_path, child, status=130)
    assert re.search(r"at step \d+; the last checkpoint is of step \d+\. Next: segtricks fit --resume --name x", said)


@pytest.mark.parametrize("group", [False, True])
def test_sigterm_ends_discover_and_the_same_command_makes_what_is_missing(tmp_path, group):
    (tmp_path / "photos").mkdir()
    for number in range(300):
        Image.new("RGB", (96, 64), (number % 256, 90, 90)).save(tmp_path / f"photos/{number}.png")
    words = ["discover", "--backbone", "descriptor", "--size", "64", "--images", "photos", "--output", "out"]
    words += ["--batch_size", "1", "--num_workers", "2"]
    child = start(tmp_path, words)
    wait_for(lambda: len(list((tmp_path / "out").glob("overlay/*"))) > 5, child)
    workers = [int(pid) for pid in Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()]
    for pid in [*workers, child.pid] if group else [child.pid]:
        os.kill(pid, signal.SIGTERM)
    said = ended(tmp_path, child, status=130)
    assert "segtricks: stopped" in said
    assert "Traceback" not in said
    assert 5 < len(list((tmp_path / "out").glob("overlay/*"))) < 300
    run(tmp_path, words)
    assert len(list((tmp_path / "out").glob("overlay/*"))) == 300
