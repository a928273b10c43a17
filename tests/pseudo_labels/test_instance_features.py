import numpy as np
import pytest
import torch

from segtricks.backbones import create_backbone
from segtricks.data.transforms import normalize
from segtricks.errors import UserError
from segtricks.pseudo_labels import Entry, encode_mask
from segtricks.pseudo_labels.instance_features import InstanceEncoder

VIT = "vit_tiny_patch16_224"


@pytest.fixture
def labelled():
    """A photograph uint8 (3, 60, 100), and an entry of one mask in the box 40, 10, 60, 30."""
    photo = torch.randint(256, (3, 60, 100), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    mask = np.zeros((60, 100), bool)
    mask[10:30, 40:60] = True
    mask[10:20, 40:50] = False
    return photo, Entry("a", 60, 100, (encode_mask(mask),))


def test_the_crop_is_the_box_with_a_margin_of_a_tenth(labelled):
    photo, entry = labelled
    encoder = InstanceEncoder("descriptor", feature="mask", size=24)
    crop, inside = encoder.crop(photo, entry, 0)
    assert torch.equal(crop, photo[:, 8:32, 38:62])  # 24 x 24: nothing is resized
    expected = torch.zeros(24, 24, dtype=torch.bool)
    expected[2:22, 2:22] = True
    expected[2:12, 2:12] = False
    assert torch.equal(inside, expected)


def test_a_margin_stops_at_the_photograph_and_long_objects_lose_their_ends(labelled):
    photo, _ = labelled
    entry = Entry("a", 60, 100, (encode_mask(np.pad(np.ones((20, 90), bool), ((0, 40), (0, 10)))),))
    crop, inside = InstanceEncoder("descriptor", feature="mask", size=24).crop(photo, entry, 0)
    assert crop.shape == (3, 24, 24) and inside[:20].all() and not inside[22:].any()


def test_class_token_is_that_of_the_network_after_its_norm(labelled):
    photo, entry = labelled
    torch.manual_seed(0)
    encoder = InstanceEncoder(VIT, pretrained=False, size=48)
    crop, _ = encoder.crop(photo, entry, 0)
    tokens = encoder.backbone.model.forward_features(normalize(crop[None] / 255))
    torch.testing.assert_close(encoder(photo, entry), tokens[:, 0])
    assert encoder(photo, Entry("a", 60, 100)).shape == (0, 192)


def test_the_mean_of_patches_in_the_mask_leaves_out_the_others(labelled):
    photo, entry = labelled
    encoder = InstanceEncoder("descriptor", feature="mask", size=24)
    crop, inside = encoder.crop(photo, entry, 0)
    features = create_backbone("descriptor")(normalize(crop[None] / 255))
    enlarged = torch.nn.functional.interpolate(features, size=(24, 24), mode="bilinear")[0]
    expected = torch.nn.functional.normalize(enlarged[:, inside].sum(1), dim=0)
    torch.testing.assert_close(encoder(photo, entry)[0], expected, rtol=0, atol=1e-5)


def test_blanking_hides_the_background(labelled):
    photo, entry = labelled
    other = photo.clone()
    other[:, 10:20, 40:50] = 255  # in the box, outside of the mask
    kept, blank = (InstanceEncoder("descriptor", feature="mask", size=24, blank=blank) for blank in (False, True))
    assert torch.equal(blank(photo, entry), blank(other, entry))
    assert not torch.equal(kept(photo, entry), kept(other, entry))


def test_a_backbone_without_a_class_token_is_refused(labelled):
    with pytest.raises(UserError, match="no class token"):
        InstanceEncoder("descriptor", size=24)(*labelled)
