import numpy as np
import pytest

from segtricks.pseudo_labels import Entry, encode_mask
from segtricks.pseudo_labels.mask_vectors import discard_vectors, read_vectors, write_vectors

VECTORS = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def entry():
    return Entry("sub/a", 4, 5, (encode_mask(np.eye(4, 5, dtype=bool)), encode_mask(np.ones((4, 5), bool))))


def test_vectors_are_read_back(tmp_path, entry):
    write_vectors(tmp_path, "sub/a", entry, VECTORS)
    np.testing.assert_array_equal(read_vectors(tmp_path, "sub/a", entry), VECTORS)


def test_vectors_of_other_masks_or_of_none_do_not_count(tmp_path, entry):
    assert read_vectors(tmp_path, "sub/a", entry) is None
    write_vectors(tmp_path, "sub/a", entry, VECTORS)
    assert read_vectors(tmp_path, "sub/a", Entry("sub/a", 4, 5, entry.masks[::-1])) is None
    discard_vectors(tmp_path, ["sub/a", "sub/b"])
    assert read_vectors(tmp_path, "sub/a", entry) is None


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 and nothing more", b"text"])
def test_damaged_vectors_do_not_count(tmp_path, entry, damage):
    write_vectors(tmp_path, "sub/a", entry, VECTORS)
    (tmp_path / "features/sub/a.npz").write_bytes(damage)
    assert read_vectors(tmp_path, "sub/a", entry) is None
