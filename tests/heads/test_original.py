import pickle

import numpy as np
import pytest
import torch

from segtricks.errors import UserError
from segtricks.heads import load_original_head


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("patch_size", [8, 16])
def test_released_head_gives_the_authors_logits(golden, patch_size, mode):
    values = {k: torch.from_numpy(v) for k, v in np.load(golden / f"sempart_head_p{patch_size}.npz").items()}
    head = load_original_head(golden / f"sempart_head_p{patch_size}.pth")
    assert head.patch_size == patch_size
    assert not head.training
    head.train(mode == "train")
    with torch.no_grad():
        output = head(values["features"], values["image"])
    for name, ours in output._asdict().items():
        expected = values[f"{name}_logits_{mode}"]
        assert (ours - expected).abs().max() <= 1e-5 * expected.abs().max()


class _Attack:
    def __reduce__(self):
        return (open, ("attacked", "w"))


def test_pickled_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "head.pth").write_bytes(pickle.dumps({"segmenter_state_dict": _Attack()}))
    with pytest.raises(UserError, match="not a readable checkpoint"):
        load_original_head(tmp_path / "head.pth")
    assert not (tmp_path / "attacked").exists()


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.pth"):
        load_original_head(tmp_path / "nowhere.pth")


def test_checkpoint_without_the_key_says_what_it_holds(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="it holds \\['state_dict'\\]"):
        load_original_head(tmp_path / "other.pth")


def test_misfitting_key_is_named(golden, tmp_path):
    checkpoint = torch.load(golden / "sempart_head_p8.pth", weights_only=True)
    checkpoint["segmenter_state_dict"]["conv_extra.weight"] = torch.zeros(1)
    torch.save(checkpoint, tmp_path / "extra.pth")
    with pytest.raises(UserError, match="conv_extra"):
        load_original_head(tmp_path / "extra.pth")
