import pytest
import torch
from safetensors import safe_open

import segtricks
from segtricks.cli import main
from segtricks.data.datasets.registry import open_dataset
from segtricks.errors import UserError
from segtricks.methods import Sempart
from segtricks.methods.released import CONFIG, WEIGHTS, load_released_weights


def test_the_file_is_small_holds_no_backbone_and_knows_its_sign_and_network():
    assert WEIGHTS.stat().st_size <= 2_000_000
    with safe_open(WEIGHTS, "pt") as file:
        names, about = set(file.keys()), file.metadata()
        votes = file.get_tensor("sign.votes")
    assert not [name for name in names if name.startswith("backbone.")]
    assert votes.sum() > 0 and about["backbone"] == "dinov2_vits14"
    assert CONFIG.is_file() and CONFIG.with_suffix(".md").is_file()


def test_a_module_of_other_options_is_refused():
    with pytest.raises(UserError, match="belongs to another network: backbone 'dinov2_vits14'"):
        load_released_weights(Sempart("descriptor"))


def test_it_cuts_the_objects_out_of_photographs_that_it_was_not_trained_on(dinov2_cache):
    pytest.importorskip("skimage", reason="the photographs of examples come with scikit-image")
    dataset = open_dataset("examples")
    names = [path.stem for path in dataset.images]
    module = segtricks.load_released()
    for name in ("flower", "coffee", "chelsea"):
        sample = dataset[names.index(name)]
        mask = torch.from_numpy(module.masks(sample["path"])) > 0.5
        truth = sample["target"][0] >= 128
        assert mask.shape == truth.shape
        assert (mask & truth).sum() / (mask | truth).sum() > 0.6, name


def test_predict_and_test_use_it(dinov2_cache, tmp_path, monkeypatch, capsys):
    pytest.importorskip("skimage", reason="the photographs of examples come with scikit-image")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text(f"{open_dataset('examples').images[6]}\n")
    assert main(["predict", "--images", "list.txt", "--output", "masks"]) == 0
    assert "0 empty masks, 0 of everything" in capsys.readouterr().out
    words = ["--data", "examples[6:7]", "--panels", "0", "--data.num_workers", "0"]
    assert main(["test", "--released", *words]) == 0
    assert "examples[6:7]" in capsys.readouterr().out
    assert main(["test", "--released", "--run", "x"]) == 2
