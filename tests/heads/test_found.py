from pathlib import Path

import numpy as np
import pytest
import torch

from segtricks.errors import UserError
from segtricks.heads import FoundHead, load_found_head


@pytest.mark.parametrize("name", ["found_decoder_weights", "peekaboo_decoder_weights_niter250"])
def test_published_heads_load_and_give_the_weighted_sum_of_the_channels(photographs, name):
    path = photographs / "heads" / f"{name}.pt"
    stored = torch.load(path, map_location="cpu", weights_only=True)["decoder"]
    features = torch.randn(2, 384, 3, 5)
    logits = load_found_head(path)(features)
    weight, bias = stored["weight"].double().numpy().ravel(), float(stored["bias"])
    expected = np.einsum("bdhw,d->bhw", features.double().numpy(), weight) + bias
    np.testing.assert_allclose(logits[:, 0].detach().numpy(), expected, rtol=0, atol=1e-4)
    assert sum(p.numel() for p in FoundHead().parameters()) == 385


def _saved(folder: Path, content: object) -> Path:
    torch.save(content, folder / "head.pt")
    return folder / "head.pt"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"encoder": {}}, r"no 'decoder' with tensors; it holds \['encoder'\]"),
        ({"decoder": {"weight": torch.zeros(1, 4, 1, 1)}}, "expected weight"),
        ({"decoder": {"weight": torch.zeros(2, 4, 1, 1), "bias": torch.zeros(2)}}, "expected weight"),
        ({"decoder": {"weight": torch.full((1, 4, 1, 1), np.nan), "bias": torch.zeros(1)}}, "not finite"),
        ({"decoder": Path("x")}, "not a readable file of tensors"),
    ],
)
def test_other_files_are_refused_with_what_they_hold(tmp_path, content, said):
    with pytest.raises(UserError, match=said):
        load_found_head(_saved(tmp_path, content))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.pt: the file does not exist"):
        load_found_head(tmp_path / "none.pt")


def test_features_of_another_backbone_are_refused():
    with pytest.raises(UserError, match=r"\(B, 384, h, w\), got \(1, 768, 2, 2\)"):
        FoundHead()(torch.zeros(1, 768, 2, 2))
