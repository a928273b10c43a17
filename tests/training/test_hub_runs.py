from dataclasses import asdict
from importlib import import_module
from inspect import signature

import pytest
import yaml

from segtricks.errors import UserError
from segtricks.packaged import packaged_configs, read_yaml
from segtricks.pseudo_labels.stages import PseudoLabels
from segtricks.training.hub_runs import portable


def test_no_code_but_segtricks_own_is_named_by_a_shared_config():
    config = {"model": {"class_path": "segtricks.methods.Sempart", "init_args": {"backbone_checkpoint": "/a/b.pth"}}}
    config |= {"data": {"class_path": "segtricks.data.SaliencyDataModule"}, "trainer": {"callbacks": "x"}}
    kept = portable(config)
    assert kept["model"]["init_args"] == {"backbone_checkpoint": "b.pth"} and "trainer" not in kept
    for options in (
        {"refiner": {"class_path": "subprocess.Popen"}},
        {"parts": [{"class_path": "my.Own"}]},
        {"backbone": "my.nets:Net"},
        {"backbone": "dino_vits16,my.nets:Net"},
        {"parts": {"backbone": "my.nets:Net"}},
    ):
        config["model"]["init_args"] = options
        with pytest.raises(UserError, match="is not part of segtricks"):
            portable(config)


def test_a_shared_run_sees_photographs_at_its_sizes():
    config = read_yaml(packaged_configs()["quick"], "")
    sizes = config["data"]["init_args"]
    assert portable(config)["data"]["init_args"] == {name: sizes[name] for name in ("size", "test_size")}


def _as_paths(value):
    """The same options, where each text is the path of a file."""
    if isinstance(value, dict):
        return {key: _as_paths(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_as_paths(inner) for inner in value]
    return "/home/someone/file" if isinstance(value, str) else value


@pytest.mark.parametrize("name", packaged_configs())
def test_no_absolute_path_of_any_option_is_shared(name):
    config = read_yaml(packaged_configs()[name], "")
    model, data = config["model"], config.setdefault("data", {"class_path": "segtricks.data.SaliencyDataModule"})
    module, _, method = model["class_path"].rpartition(".")
    options = signature(getattr(import_module(module), method)).parameters
    model["init_args"] = dict.fromkeys(options, "/home/someone/file") | _as_paths(model.get("init_args", {}))
    model["init_args"]["labels"] = asdict(PseudoLabels(stuff_maps="~/maps", backbone_checkpoint="/home/someone/b.pth"))
    data["init_args"] = _as_paths(data.get("init_args", {})) | {"root": "/home/someone"}
    kept = str(portable(config))
    assert "/home" not in kept and "~" not in kept


@pytest.mark.parametrize("part", ["model: some.text", "model: {init_args: [1]}", "data: 3", "provenance: weights"])
def test_a_config_that_is_not_one_of_a_run_is_called_damaged(part):
    whole = {"model": {"class_path": "segtricks.methods.Sempart"}, "data": {"class_path": "segtricks.data.X"}}
    with pytest.raises(UserError, match=r"is damaged: (model|init_args|data|provenance) is"):
        portable(whole | yaml.safe_load(part))
