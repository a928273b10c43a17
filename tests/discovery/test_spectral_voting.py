import pytest
import torch

from segtricks.backbones import create_backbone
from segtricks.discovery import spectral_clusters, vote_mask
from segtricks.discovery.spectral_voting import SpectralVoting
from segtricks.errors import UserError


@pytest.fixture
def images():
    """Two images of 60x72 pixels with a block of another colour, not a multiple of the larger patch."""
    pictures = torch.randn(2, 3, 60, 72, generator=torch.Generator().manual_seed(0)) * 0.05
    pictures[:, 0, 16:40, 24:56] += 2
    return pictures


def test_masks_are_the_winners_of_the_vote_among_all_backbones(images):
    candidates = []
    for name, patch in (("descriptor4", 4), ("descriptor16", 16)):
        padded = torch.nn.functional.pad(images, (0, -72 % patch, 0, -60 % patch))
        features = create_backbone(name)(padded)
        for k in (2, 3, 4):
            labels = spectral_clusters(features, k).repeat_interleave(patch // 2, 1).repeat_interleave(patch // 2, 2)
            candidates += [labels[:, :60, :72] == number for number in range(k)]
    expected = torch.stack([vote_mask(torch.stack(each)).mask for each in zip(*candidates, strict=True)])
    masks = SpectralVoting("descriptor4, descriptor16")(images)
    assert torch.equal(masks[:, 0], expected.float())


def test_the_block_is_found(images):
    mask = SpectralVoting("descriptor4")(images)[:, 0]
    truth = torch.zeros(2, 60, 72)
    truth[:, 16:40, 24:56] = 1
    assert ((mask * truth).sum() / mask.maximum(truth).sum()) > 0.8


@pytest.mark.parametrize(
    ("backbone", "options", "message"),
    [(",", {}, "No backbone"), ("descriptor,descriptor4", {"checkpoint": "w.pth"}, "goes with one backbone")],
)
def test_impossible_lists_are_refused(backbone, options, message):
    with pytest.raises(UserError, match=message):
        SpectralVoting(backbone, **options)
