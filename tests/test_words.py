from segtricks.discovery import spectral_voting
from segtricks.discovery.methods import METHODS
from segtricks.words import DISCOVERIES


def test_every_training_free_method_can_be_asked_for_and_no_other():
    assert set(DISCOVERIES) == {*METHODS, spectral_voting.NAME}
