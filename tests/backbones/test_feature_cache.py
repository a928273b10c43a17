import logging

import pytest
import torch
from torch import nn

from segtricks.backbones import create_backbone
from segtricks.backbones.feature_cache import FeatureCache, cache_features, features_folder, forget_cache, identity
from segtricks.backbones.vit import ViTBackbone
from segtricks.errors import UserError

from .vit_references import small_vit


class Counted(ViTBackbone):
    """A small ViT that counts the images it has seen."""

    def __init__(self, feature="key", layer=-1, pos_interp="dino", **options):
        torch.manual_seed(0)
        super().__init__(small_vit(**options), "small", 0.4, feature, layer, pos_interp)
        self.seen = 0
        self.requires_grad_(False).eval()

    def extract(self, images):
        self.seen += len(images)
        return super().extract(images)


class Pair(nn.Module):
    """Two outputs of different kind, as keys and attention are."""

    name, seen = "pair", 0

    def forward(self, images):
        self.seen += len(images)
        return images[:, :, ::2], images.double().flatten(2).mean(2)


IMAGES = torch.randn(3, 3, 40, 24, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("lower", [None, torch.bfloat16])
def test_second_run_computes_nothing_and_gives_the_same_bits(tmp_path, lower):
    backbone = Counted()
    with torch.inference_mode(), torch.autocast("cpu", lower or torch.bfloat16, enabled=lower is not None):
        expected = backbone(IMAGES)
        cache_features(backbone, tmp_path)
        first = backbone(IMAGES)
        again = Counted()
        cache = cache_features(again, tmp_path)
        second = torch.cat([again(IMAGES[:1]), again(IMAGES[1:])])
    assert second.dtype == first.dtype == expected.dtype == (lower or torch.float32)
    assert torch.equal(first, expected) and torch.equal(second, expected)
    assert (backbone.seen, again.seen, cache.found, cache.computed) == (6, 0, 3, 0)
    forget_cache(again)
    assert torch.equal(again(IMAGES), Counted()(IMAGES)) and again.seen == 3


def test_several_outputs_are_kept_together(tmp_path):
    first, second = Pair(), Pair()
    cache_features(first, tmp_path)
    cache_features(second, tmp_path)
    expected = Pair()(IMAGES)
    for backbone in (first, second):
        for part, value in zip(backbone(IMAGES), expected, strict=True):
            assert part.dtype == value.dtype and torch.equal(part, value)
    assert (first.seen, second.seen) == (3, 0)


def test_a_batch_with_one_new_image_is_computed_as_a_whole(tmp_path):
    backbone = Counted()
    cache = cache_features(backbone, tmp_path)
    backbone(IMAGES[:2])
    assert torch.equal(backbone(IMAGES), Counted()(IMAGES))
    assert (cache.found, cache.computed, len(list(tmp_path.rglob("*.safetensors")))) == (0, 5, 3)


def test_all_that_changes_features_makes_another_entry(tmp_path):
    shifted = Counted()
    with torch.no_grad():
        shifted.model.blocks[-1].projection.bias[0] += 1e-3
    torch.manual_seed(0)
    others = {
        "kind": ViTBackbone(small_vit(), "small", 0.4).requires_grad_(False).eval(),
        "key": Counted(),
        "query": Counted("query"),
        "layer": Counted(layer=0),
        "positions": Counted(pos_interp="timm"),
        "weights": shifted,
        "dtype": Counted().double(),
    }
    entries = {name: FeatureCache(backbone, tmp_path).entry(IMAGES[0]) for name, backbone in others.items()}
    cache = FeatureCache(Counted(), tmp_path)
    assert entries["key"] == cache.entry(IMAGES[0].clone())
    entries |= {"pixels": cache.entry(IMAGES[1]), "size": cache.entry(IMAGES[0].reshape(3, 24, 40))}
    with torch.autocast("cpu", torch.bfloat16):
        entries["autocast"] = cache.entry(IMAGES[0])
    assert len(set(entries.values())) == len(entries)
    assert identity(create_backbone("descriptor")) != identity(create_backbone("descriptor16"))


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign"])
def test_a_damaged_entry_is_named_and_computed_again(tmp_path, caplog, damage):
    expected = Counted()(IMAGES)
    cache = cache_features(backbone := Counted(), tmp_path)
    backbone(IMAGES)
    entry = cache.entry(IMAGES[1])
    content = bytearray(entry.read_bytes())
    if damage == "flipped":
        content[-5] ^= 1
    entry.write_bytes({"cut": content[:-7], "flipped": content, "foreign": b"no features"}[damage])
    with caplog.at_level(logging.WARNING):
        assert torch.equal(backbone(IMAGES), expected)
    assert caplog.text.count("is damaged") == 1 and str(entry) in caplog.text
    assert torch.equal(backbone(IMAGES), expected) and backbone.seen == 6


def test_where_nothing_can_be_written_one_line_says_so(tmp_path, caplog):
    (tmp_path / "file").touch()
    cache_features(backbone := Counted(), tmp_path / "file")
    assert torch.equal(torch.cat([backbone(IMAGES), backbone(IMAGES)]), Counted()(IMAGES).repeat(2, 1, 1, 1))
    assert caplog.text.count("cannot be written to") == 1


def test_mistaken_images_are_told_as_without_a_cache(tmp_path):
    cache_features(backbone := Counted(), tmp_path)
    with pytest.raises(UserError, match="cannot cut 41x24"):
        backbone(torch.zeros(1, 3, 41, 24))
    assert not list(tmp_path.iterdir())


def test_a_class_without_a_source_file_is_refused(tmp_path):
    kind = type("Typed", (nn.Module,), {"__module__": "builtins", "forward": lambda self, images: images})
    with pytest.raises(UserError, match="leave out --cache_features"):
        FeatureCache(kind(), tmp_path)


def test_state_dict_has_the_same_names(tmp_path):
    backbone = Counted()
    before = list(backbone.state_dict())
    cache_features(backbone, tmp_path)
    assert list(backbone.state_dict()) == before


def test_folder_is_beside_the_cache_of_photographs(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert features_folder() == tmp_path / "segtricks" / "features"
