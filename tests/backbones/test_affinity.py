import pytest

from segtricks.backbones import create_backbone
from segtricks.backbones.affinity import MEASURED, METHODS, Affinity, affinity_of
from segtricks.losses import share_of


@pytest.mark.parametrize(
    ("method", "tau"),
    [("sempart", 0.4), ("tokencut", 0.2), ("lost", 0.0), ("deep_spectral", 0.0), ("found", 0.3), ("maskcut", 0.15)],
)
@pytest.mark.parametrize("backbone", ["dino_vits8", "dino_vitb16", "ibot_vits16", "vit_small_patch16_224.dino"])
def test_dino_and_ibot_keep_the_keys_and_thresholds_of_the_papers(backbone, method, tau):
    assert affinity_of(backbone, method) == Affinity("key", -1, tau)


@pytest.mark.parametrize("method", METHODS)
def test_a_backbone_nobody_measured_gets_a_share(method):
    assert 0 < share_of(affinity_of("dinov3_vits16", method).tau) < 1


def test_a_measured_threshold_goes_with_the_measured_features_alone():
    measured = MEASURED["dinov2_vits14"]["sempart"]
    assert affinity_of("dinov2_vits14") == measured
    assert affinity_of("dinov2_vits14", feature=measured.feature, layer=measured.layer) == measured
    other = affinity_of("dinov2_vits14", feature="query", layer=-3)
    assert (other.feature, other.layer) == ("query", -3) and share_of(other.tau) is not None


def test_the_backbone_carries_the_threshold_of_its_features():
    assert create_backbone("dino_vits16", pretrained=False).tau == 0.4
    assert share_of(create_backbone("dino_vits16", pretrained=False, feature="token").tau) is not None
