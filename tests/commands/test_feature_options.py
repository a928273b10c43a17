import json

import pytest
import torch
from lightning.pytorch.callbacks import TQDMProgressBar

from segtricks.backbones.descriptor import DescriptorBackbone
from segtricks.cli import main
from segtricks.commands.lightning_cli import SegtricksCLI
from segtricks.commands.options import config_words
from segtricks.training.bar import CudnnBenchmark, TrainingBar
from segtricks.training.feature_caching import FeatureCaching

from .conftest import SMALL


@pytest.fixture
def computed(monkeypatch):
    """Sizes of the batches that the backbone computes from now on."""
    sizes, extract = [], DescriptorBackbone.extract
    monkeypatch.setattr(DescriptorBackbone, "extract", lambda self, x: sizes.append(len(x)) or extract(self, x))
    return sizes


def test_fit_keeps_only_features_of_the_test_sets_and_trains_as_without(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--name", "small", "--cache-features", "--cache_dir", "cache", "--test", "after", "--panels", "0"]
    assert main(["fit", *SMALL, *words]) == 0
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 4, "none of those trained on or held out"
    with_cache, without = (
        torch.load(folder / "runs/small/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for folder in (tmp_path, trained)
    )
    assert with_cache.keys() == without.keys()
    assert all(torch.equal(with_cache[key], without[key]) for key in without)
    assert "cache_features" not in (tmp_path / "runs/small/config.yaml").read_text()


def test_second_test_computes_no_features_and_scores_the_same(trained, tmp_path, monkeypatch, computed):
    monkeypatch.chdir(trained)
    result = trained / "runs/small/test/synthetic-14-18.json"
    results = [json.loads(result.read_text())]
    for spelling in ("--cache-features", "--cache_features"):
        assert main(["test", "--run", "small", "--panels", "0", spelling, "--cache_dir", str(tmp_path)]) == 0
        results.append(json.loads(result.read_text()))
    assert computed == [4]
    assert results[0]["rows"] == results[1]["rows"] and results[1] == results[2]


def test_validate_keeps_the_held_out_images_and_their_crops(trained, tmp_path, monkeypatch, computed, capsys):
    monkeypatch.chdir(trained)
    said = []
    for _ in range(2):
        assert main(["validate", "--run", "small", "--cache-features", "--cache_dir", str(tmp_path)]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert computed == [4], "two images and a crop of each"


def _callbacks(*words):
    trainer = SegtricksCLI([*config_words(["synthetic"]), *SMALL[2:], *words]).trainer
    return {type(callback) for callback in trainer.callbacks}


def test_trainer_gets_our_bar_and_choice_of_kernels_unless_told_otherwise(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)  # Lightning sets it, and nobody would set it back
    shown, bars = ["--trainer.enable_progress_bar", "true"], {TrainingBar, TQDMProgressBar}
    kinds = _callbacks(*shown)
    assert kinds & bars == {TrainingBar}
    assert kinds & {CudnnBenchmark, FeatureCaching} == {CudnnBenchmark}
    assert _callbacks(*shown, "--trainer.callbacks+=TQDMProgressBar") & bars == {TQDMProgressBar}
    assert _callbacks("--cache-features") & (bars | {FeatureCaching}) == {FeatureCaching}, "SMALL shows no bar"
    for chosen in ("false", "true"):
        assert CudnnBenchmark not in _callbacks("--trainer.benchmark", chosen)


def test_misspelt_option_is_told(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    assert main(["test", "--run", "small", "--cache-feature"]) == 2
    assert "Unknown option --cache-feature. Did you mean --cache_features?" in capsys.readouterr().err
