from pathlib import Path

import pytest
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args, load_sweep_config

from segtricks.commands.lightning_cli import SegtricksCLI
from segtricks.packaged import find_config

SWEEP = Path(__file__).parents[2] / "experiments/sweep.yaml"


@pytest.mark.filterwarnings("ignore::Warning")  # Lightning's, on words that are not sys.argv
@pytest.mark.parametrize("last", [False, True], ids=["first values", "last values"])
def test_command_line_that_wandb_makes_of_the_sweep_is_understood(last):
    sweep = load_sweep_config(str(SWEEP))
    chosen = {name: {"value": entry["values"][-1 if last else 0]} for name, entry in sweep["parameters"].items()}
    flags = create_sweep_command_args({"args": chosen})["args"]
    words = [
        word for chunk in create_sweep_command(sweep["command"]) for word in (flags if chunk == "${args}" else [chunk])
    ]
    assert words[:3] == ["${env}", "segtricks", "fit"]
    config = words.index("sempart_tricks")
    words[config] = str(find_config("sempart_tricks"))
    cli = SegtricksCLI([*words[3:], "--model.backbone", "descriptor"])  # the config's own needs its weights
    model, data = cli.config.model.init_args, cli.config.data.init_args
    found = {
        "model.optimizer.lr": model.optimizer.init_args.lr,
        "model.hidden_dim": model.hidden_dim,
        "data.batch_size": data.batch_size,
    }
    assert found == {name: entry["value"] for name, entry in chosen.items()}
    assert (cli.config.test, cli.config.wandb) == ("none", "online")


def test_measure_of_the_sweep_needs_no_labels():
    assert load_sweep_config(str(SWEEP))["metric"] == {"name": "val/loss", "goal": "minimize"}
