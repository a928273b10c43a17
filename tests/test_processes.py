"""Several processes train, score and predict what one does."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from segtricks.data import SyntheticShapes
from segtricks.training.metrics_file import MetricsFile

from .launch import ended, run, start, start_script, wait_for

pytestmark = pytest.mark.slow  # two commands at a time, in three processes

WORDS = [
    *("fit", "--config", "synthetic", "--data.size", "32", "--model.hidden_dim", "8", "--model.crop", "false"),
    *("--data.train", "synthetic[:29]", "--data.held_out", "5", "--data.test", "['synthetic[40:45]']", "--panels", "0"),
    *("--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false", "--trainer.log_every_n_steps", "1"),
    *("--test", "after", "--model.optimizer", "SGD", "--model.optimizer.lr", "0.05"),
    *("--model.lr_scheduler", "null", "--seed_everything", "5"),
]
WORLD = 2
SCRIPT = Path(__file__).with_name("child_weights.py")
CONTRAST = Path(__file__).with_name("child_contrast.py")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def torchrun(rank, port):
    """What torchrun tells a process."""
    return {
        **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD), "LOCAL_WORLD_SIZE": str(WORLD)},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "x", "GROUP_RANK": "0"},
        "TORCHELASTIC_USE_AGENT_STORE": "False",
    }


def run_together(folder, words, status=0):
    """Run the words in two processes, as torchrun does; return what they said together."""
    port = free_port()
    devices = ["--trainer.devices", WORLD, "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu"]
    words = [*words, *(devices if words[0] != "discover" else [])]
    children = [start(folder, words, torchrun(rank, port)) for rank in range(WORLD)]
    for child in children:
        said = ended(folder, child, status)
    return said


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Folder with two runs on the same 24 images: ``one`` process with batches of 8, ``two`` with batches of 4."""
    folder = tmp_path_factory.mktemp("runs")
    run(folder, [*WORDS, "--name", "one", "--data.batch_size", "8"])
    said = run_together(folder, [*WORDS, "--name", "two", "--data.batch_size", "4"])
    return folder, said


def test_one_process_speaks_and_writes(both):
    folder, said = both
    assert said.count("Trained to step 3") == 2  # of the two runs, not of three processes
    one, two = (
        sorted(path.relative_to(folder / "runs" / name) for path in files(folder / "runs" / name))
        for name in ("one", "two")
    )
    assert one == two


def files(run):
    """All of a run but the examples: they are chosen among the first process's images."""
    return [path for path in run.rglob("*") if path.is_file() and not path.parent.name.endswith("-examples")]


def test_the_logged_steps_are_those_of_whole_batches(both):
    one, two = (MetricsFile(both[0] / "runs" / name).rows() for name in ("one", "two"))
    assert [row["step"] for row in one] == [row["step"] for row in two] == [0, 1, 2]


def test_scores_on_the_same_weights_are_exactly_those_of_one_process(both, tmp_path):
    """Five images on two processes: a padded sixth would be counted twice."""
    folder, _ = both
    result = folder / "runs/one/test/synthetic-40-45.json"
    alone = json.loads(result.read_text())
    words = ["test", "--run", "runs/one", "--data.batch_size", "4", "--panels", "0"]
    run_together(folder, words)
    together = json.loads(result.read_text())
    assert together["images"] == alone["images"] == 5
    for row, metrics in alone["rows"].items():
        assert together["rows"][row] == pytest.approx(metrics, rel=1e-6, nan_ok=True)


def test_the_objective_on_held_out_images_is_that_of_one_process(both, tmp_path):
    """Five images again, in batches of two: the shares have two batches and one and a half."""
    (tmp_path / "runs").symlink_to(both[0] / "runs")
    words = ["validate", "--run", "runs/one", "--data.eval_batch_size", "2"]
    alone = run(tmp_path, words)
    together = run_together(tmp_path, words).removeprefix(alone)
    assert table(together) == pytest.approx(table(alone), abs=2e-6)
    assert "loss" in table(alone)


def table(said):
    """Figures of a printed table by name."""
    words = [line.split() for line in said.splitlines()]
    return {line[0]: float(line[1]) for line in words if len(line) == 2 and line[1].replace(".", "").isdigit()}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights after three steps by ``(processes, norms)``: batches of 8 in all, norms frozen or of each process."""
    folder, found = tmp_path_factory.mktemp("weights"), {}
    for norms in ("frozen", "own"):
        children = [(1, start_script(folder, SCRIPT, {"processes": 1, "norms": norms}))]
        port = free_port()
        for rank in range(WORLD):
            given = {"processes": WORLD, "norms": norms}
            children.append((WORLD, start_script(folder, SCRIPT, given, torchrun(rank, port))))
        for _, child in children:
            ended(folder, child)
        for processes in (1, WORLD):
            found[processes, norms] = torch.load(folder / f"{processes}-{norms}.pt", weights_only=True)
    return found


def largest_difference(one, other):
    return max(float((one[key] - other[key]).abs().max()) for key in one)


def test_two_batches_of_four_train_as_one_of_eight_where_norms_do_not_look_at_the_batch(weights):
    assert largest_difference(weights[1, "frozen"], weights[1, "own"]) > 1e-4  # there is something to compare
    assert largest_difference(weights[1, "frozen"], weights[WORLD, "frozen"]) < 1e-6


def test_batch_norms_of_each_process_see_their_own_images_so_these_trainings_differ(weights):
    assert largest_difference(weights[1, "own"], weights[WORLD, "own"]) > 1e-4


@pytest.fixture
def photos(tmp_path):
    from torchvision.transforms.v2.functional import to_pil_image

    shapes = SyntheticShapes(5, 40)
    (tmp_path / "photos").mkdir()
    for i in range(5):
        to_pil_image(shapes.read_image(i)).save(tmp_path / f"photos/{i}.png")
    (tmp_path / "photos/broken.png").write_bytes(b"")
    return tmp_path / "photos"


@pytest.mark.parametrize("command", ["predict", "discover"])
def test_two_processes_write_the_masks_and_the_index_of_one(both, photos, tmp_path, command):
    how = ["--run", both[0] / "runs/one"] if command == "predict" else ["--backbone", "descriptor4", "--size", "32"]
    words = [command, *how, "--images", photos, "--output"]
    run(tmp_path, [*words, "alone"])
    run_together(tmp_path, [*words, "together"])
    for kind in ("soft", "binary"):
        names = sorted(path.name for path in (tmp_path / "alone" / kind).iterdir())
        assert (
            names
            == [f"{i}.png" for i in range(5)]
            == sorted(path.name for path in (tmp_path / "together" / kind).iterdir())
        )
        for name in names:
            one, other = (Image.open(tmp_path / place / kind / name) for place in ("alone", "together"))
            assert one.tobytes() == other.tobytes(), name
    one, other = (json.loads((tmp_path / place / "index.json").read_text()) for place in ("alone", "together"))
    assert one | {"written": sorted(one["written"])} == other
    assert other["images"] == 5 and len(other["skipped"]) == 1


def test_a_process_that_can_read_nothing_of_its_share_keeps_nobody_waiting(tmp_path):
    data = SyntheticShapes(8, 32)
    (tmp_path / "mixed").mkdir()
    for i in range(8):
        Image.fromarray(data.read_image(i).permute(1, 2, 0).numpy()).save(tmp_path / "mixed" / f"{i}.png")
    (tmp_path / "mixed" / "2.png").write_bytes(b"no image")
    words = [*WORDS, "--name", "x", "--data.batch_size", "1", "--data.held_out", "2", "--data.train", "mixed"]
    said = run_together(tmp_path, [*words, "--test", "none", "--max_bad_share", "1"])
    assert said.count("Trained to step 3") == 1 and said.count("2.png") == 1
    values = torch.load(tmp_path / "runs" / "x" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(bool(value.isfinite().all()) for value in values.values())


def test_torchrun_trains_one_run(tmp_path):
    words = [*WORDS, "--test", "none", "--name", "x", "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "2",
        "--master_port",
        str(free_port()),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "-m", "segtricks", *words], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Trained to step") == 1
    assert torch.load(tmp_path / "runs/x/checkpoints/last.ckpt", weights_only=True)["global_step"] == 1


def test_several_processes_need_the_name_of_their_run(tmp_path):
    said = run(tmp_path, ["fit", "--config", "synthetic"], status=2, environment=torchrun(0, 1))
    assert "pass --name NAME" in said


def test_a_signal_to_all_processes_stops_them_after_the_same_step(tmp_path):
    words = [*WORDS, "--test", "none", "--name", "x", "--data.batch_size", "2", "--trainer.max_epochs", "200"]
    port = free_port()
    words += ["--trainer.devices", WORLD, "--trainer.strategy", "ddp"]
    children = [start(tmp_path, words, torchrun(rank, port)) for rank in range(WORLD)]
    metrics = tmp_path / "runs/x/metrics.csv"
    wait_for(metrics.is_file, children[0])
    for child in children:
        os.kill(child.pid, signal.SIGTERM)
    said = ended(tmp_path, children[0], status=130)
    ended(tmp_path, children[1])
    step = torch.load(tmp_path / "runs/x/checkpoints/last.ckpt", weights_only=True)["global_step"]
    assert f"Stopped by a signal at step {step:,}" in said
    assert MetricsFile(tmp_path / "runs/x").rows()[-1]["step"] == step - 1


def test_a_method_without_training_is_scored_in_one_folder_with_the_images_of_all_processes(tmp_path):
    words = ["test", "--config", "deep_spectral", "--model.backbone", "descriptor", "--data", "synthetic[:6]"]
    words += ["--data.size", "64", "--panels", "0", "--trainer.accelerator", "cpu", "--trainer.strategy", "ddp"]
    run(tmp_path, [*words[:-2], "--name", "one"])
    by_lightning = [*words, "--name", "two", "--trainer.devices", "2"]
    command = [sys.executable, "-m", "segtricks", *by_lightning]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Figures as JSON") == 1
    run_together(tmp_path, [*words, "--name", "three"])
    one, two, three = (
        json.loads((tmp_path / f"runs/{name}/test/synthetic-0-6.json").read_text()) for name in ("one", "two", "three")
    )
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["one", "three", "two"]
    for result in (two, three):
        assert result["images"] == 6
        assert result["empty"] == one["empty"]
        for row, bins in result["size_bins"].items():
            assert [each["images"] for each in bins] == [each["images"] for each in one["size_bins"][row]]
        for row, metrics in result["rows"].items():
            assert metrics == pytest.approx(one["rows"][row])


@pytest.fixture(scope="module")
def contrast(tmp_path_factory):
    """What one step of MaskContrast leaves, by number of processes: batches of 8 in all."""
    folder, shapes = tmp_path_factory.mktemp("contrast"), SyntheticShapes(9, 20)
    for name in ("photos", "masks"):
        (folder / name).mkdir()
    for i in range(9):
        Image.fromarray(shapes.read_image(i).permute(1, 2, 0).numpy()).save(folder / f"photos/{i}.png")
        Image.fromarray(shapes.read_mask(i)[0].numpy()).save(folder / f"masks/{i}.png")
    port = free_port()
    children = [start_script(folder, CONTRAST, {"processes": 1})]
    children += [start_script(folder, CONTRAST, {"processes": WORLD}, torchrun(rank, port)) for rank in range(WORLD)]
    for child in children:
        ended(folder, child)
    return {count: torch.load(folder / f"{count}.pt", weights_only=True) for count in (1, WORLD)}


def test_the_queue_gets_the_prototypes_of_all_processes_in_the_order_of_their_ranks(contrast):
    """Of the eight images in one process's batch, the first of two processes has the even ones."""
    one, two = (contrast[count]["queue"] for count in (1, WORLD))
    torch.testing.assert_close(two[:8], torch.cat([one[0:8:2], one[1:8:2]]), rtol=0, atol=1e-5)
    assert torch.equal(two[8:], one[8:])


def test_the_other_images_of_a_step_are_negatives_within_a_process_alone_so_losses_differ(contrast):
    one, two = (float(contrast[count]["loss"]) for count in (1, WORLD))
    assert two < one - 0.05  # three negatives of the batch instead of seven


def test_processes_may_have_different_numbers_of_prototypes(contrast):
    assert contrast[WORLD]["unequal"].tolist() == [[1, 1, 1]] * 2
