import json
import logging
import os
import re
import subprocess
import sys

import pytest
from PIL import Image
from tqdm import tqdm

import segtricks
from segtricks import cli
from segtricks.cli import COMMANDS, HELP, main


def test_help_names_every_command_and_imports_nothing_heavy():
    code = "import sys; from segtricks.cli import main; main(['--help']); print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f"segtricks {command} " in result.stdout for command in COMMANDS)
    assert result.stdout.splitlines()[-1] == "False"


HEAVY = (
    *("torch._dynamo", "torch._inductor", "torchmetrics", "torchvision", "lightning", "timm", "transformers"),
    *("wandb", "matplotlib", "pandas", "sklearn"),
)
MISSPELT = (
    "fit --config demo --model.tua 3",
    "fit --config demo --max_epoch 3",
    "fit --nmae x",
    "validate --config demo --ckpt_path x --data.siez 3",
    "test --released --trainer.precison 16",
    "test --relased",
    "predict --images a --output b --data.siez=3",
    "predict --iamges a",
    "discover --images a --output b --bakbone x",
    "discover --images a --output b --tokencut 3",
    "evaluate --predictons a",
    "refine --maks a",
    "app --prot 7000",
    "predict --images a --output b --launcher slurm --jbos 3",
    "refine --masks a --images b --output c --radus 3",
    "classes --iamges a",
    "cluster --iamges a",
    "stuff --iamges a",
    "data list --rot a",
    "data download --rot a",
    "data verify a --maks b",
    "weights get --hlep",
    "compare a --metrc iou",
    "report a --ouput b",
    "experiment table3 --dry-rnu",
)


def _python(code, *words):
    """What a process of its own prints last."""
    result = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=True)
    return result.stdout.splitlines()[-1]


def test_misspelt_options_are_explained_before_torch_is_imported():
    code = """import contextlib, io, json, sys
from segtricks.cli import main
answers = []
for line in sys.argv[1:]:
    with contextlib.redirect_stderr(io.StringIO()) as error:
        answers.append([main(line.split()), error.getvalue(), "torch" in sys.modules])
print(json.dumps(answers))"""
    answers = json.loads(_python(code, *MISSPELT))
    assert {line: bool(torch) for line, (_, _, torch) in zip(MISSPELT, answers, strict=True) if torch} == {}
    unexplained = [
        line for line, (status, text, _) in zip(MISSPELT, answers, strict=True) if status != 2 or "Unknown" not in text
    ]
    assert unexplained == []


def test_folders_are_scored_and_refined_without_lightning_torchmetrics_and_compilers(tmp_path):
    for name in ("masks", "photos"):
        (tmp_path / name).mkdir()
        picture = Image.new("L", (40, 30))
        picture.paste(255, (5, 5, 20, 20))
        picture.save(tmp_path / name / "a.png")
    code = """import sys
from segtricks.cli import main
masks, photos, output, *heavy = sys.argv[1:]
assert main(["evaluate", "--predictions", masks, "--targets", masks]) == 0
assert main(["refine", "--masks", masks, "--images", photos, "--output", output]) == 0
print([name for name in heavy if name in sys.modules])"""
    assert _python(code, tmp_path / "masks", tmp_path / "photos", tmp_path / "refined", *HEAVY) == "[]"


def test_reports_are_drawn_without_lightning_torchmetrics_and_compilers():
    code = """import sys
import segtricks.reports.page, segtricks.scoring.floors
print([name for name in sys.argv[1:] if name in sys.modules])"""
    assert _python(code, *(name for name in HEAVY if name != "matplotlib")) == "[]"


def test_no_word_at_all_shows_the_help(capsys):
    assert main([]) == 0
    assert capsys.readouterr().out == HELP


def test_version_is_the_packages(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"segtricks {segtricks.__version__}\n"


def test_unknown_command_lists_the_known_and_is_no_traceback(capsys):
    assert main(["tarin"]) == 2
    error = capsys.readouterr().err
    assert "Unknown command 'tarin'" in error
    assert "fit" in error
    assert error.count("\n") == 2


def test_warnings_are_lines_of_their_own_and_come_once(capsys):
    for _ in range(2):
        assert main(["--version"]) == 0
    with tqdm(total=2, file=sys.stderr) as bar:
        bar.update()
        logging.getLogger("segtricks.anything").warning("odd.png: an odd file")
    lines = re.split(r"[\r\n]+", capsys.readouterr().err)
    assert lines.count("odd.png: an odd file") == 1


@pytest.mark.parametrize(
    ("death", "status", "said"),
    [
        ("DataLoader worker (pid 7) is killed by signal: Terminated. ", 130, "segtricks: stopped"),
        (
            "DataLoader worker (pid 7) is killed by signal: Killed. ",
            2,
            "was killed (Killed), most likely because memory",
        ),
        ("DataLoader worker (pid(s) 7) exited unexpectedly", 2, "A reading process ended unexpectedly."),
    ],
)
@pytest.mark.parametrize("buried", [False, True])
def test_the_end_of_a_reading_process_is_told_by_its_signal(monkeypatch, capsys, death, status, said, buried):
    def work(*_):
        if not buried:
            raise RuntimeError(death)
        raise RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly") from RuntimeError(death)

    monkeypatch.setattr(cli, "_run", work)
    assert main(["discover"]) == status
    error = capsys.readouterr().err
    assert said in error
    assert (status == 130) == ("num_workers" not in error)


@pytest.mark.parametrize(
    "bar",
    [
        "from tqdm import tqdm; list(tqdm(range(3), desc='photographs', disable=None))",
        "from segtricks.training.bar import TrainingBar as B; B().init_train_tqdm().set_description('photographs')",
    ],
    ids=["tqdm", "Lightning"],
)
def test_a_terminal_without_rows_still_shows_bars(bar):
    pty = pytest.importorskip("pty")  # not on Windows
    ours, theirs = pty.openpty()  # of 0 rows and columns
    code = f"from segtricks.cli import main; main(['--version']); {bar}"
    subprocess.run([sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, check=True)
    os.close(theirs)
    assert b"photographs" in os.read(ours, 10_000)
