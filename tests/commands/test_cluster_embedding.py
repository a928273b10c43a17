from argparse import Namespace
from types import SimpleNamespace

import pytest
import torch

from segtricks.backbones import create_backbone
from segtricks.commands import run_loading
from segtricks.commands.cluster_embedding import make_embedding
from segtricks.errors import UserError

OPTIONS = dict.fromkeys(("backbone_checkpoint", "feature", "run", "size")) | {"backbone": "descriptor", "layer": -1}
CPU = torch.device("cpu")


def test_a_backbone_gives_its_features():
    embedding = make_embedding(Namespace(**OPTIONS | {"size": 64}), CPU)
    image = torch.rand(1, 3, 32, 48)
    assert torch.equal(embedding.features(image), create_backbone("descriptor")(image))
    assert (embedding.size, embedding.multiple) == (64, create_backbone("descriptor").patch_size)
    assert embedding.about["backbone"] == "descriptor"


def test_a_run_of_a_method_without_an_embedding_is_refused(trained, monkeypatch):
    monkeypatch.chdir(trained)
    with pytest.raises(UserError, match="no embedding of pixels"):
        make_embedding(Namespace(**OPTIONS | {"run": "runs/small"}), CPU)


class _Embedder(torch.nn.Module):
    input_size, input_multiple = 96, 4

    def forward(self, images):
        return SimpleNamespace(embedding=images[:, :2, ::4, ::4], saliency=None)


def test_a_run_with_an_embedding_gives_it_at_the_size_of_the_run(trained, monkeypatch):
    monkeypatch.chdir(trained)
    monkeypatch.setattr(run_loading, "load_run", lambda run: _Embedder())
    embedding = make_embedding(Namespace(**OPTIONS | {"run": "runs/small"}), CPU)
    assert embedding.features(torch.rand(1, 3, 8, 12)).shape == (1, 2, 2, 3)
    assert (embedding.size, embedding.multiple) == (96, 4)
    assert len(embedding.about["checkpoint"]) == 16
