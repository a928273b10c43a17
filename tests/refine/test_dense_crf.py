import dataclasses

import numpy as np
import pytest
import torch

from segtricks.errors import UserError
from segtricks.refine import DenseCRF, dense_crf, dense_crf_labels
from segtricks.refine.permutohedral import PermutohedralLattice
from segtricks.refine.registry import create_refiner

PYDENSECRF = [
    "0000011031122222",
    "1000001011122222",
    "3000001111122222",
    "0000000111122222",
    "0000001111121220",
    "0020001113122232",
    "0020001111122210",
    "0311310222122231",
    "2211312222233332",
    "2101112222323231",
    "1113312222133030",
    "1131312222333333",
]
"""Classes of a drawn image, by pydensecrf2 1.1."""


@pytest.fixture
def published(golden):
    return np.load(golden / "u2seg_crf.npz")


def _image(pixels):
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255


def test_masks_of_one_image_equal_pydensecrf(published):
    masks = torch.from_numpy(published["masks"])[:, None].float()
    ours = dense_crf(masks, _image(published["image"]))
    np.testing.assert_array_equal(ours[:, 0].numpy(), published["crf"])


@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_a_hard_case_equals_pydensecrf_after_each_number_of_iterations(published, iterations):
    mask = torch.from_numpy(published["hard_mask"])[None, None].float()
    ours = create_refiner("dense_crf", options={"iterations": str(iterations)})(mask, _image(published["hard_image"]))
    np.testing.assert_array_equal(ours[0, 0].numpy(), published[f"hard_crf_{iterations}"])


def test_two_labels_are_the_mask_of_pydensecrf(published):
    mask, image = torch.from_numpy(published["hard_mask"]).float(), _image(published["hard_image"])[0]
    options = {"sigma_smooth": 3, "weight_smooth": 7, "sigma_spatial": 50, "sigma_color": 5, "weight_color": 10}
    ours = dense_crf_labels(torch.stack([1 - mask, mask]).log_softmax(dim=0), image, **options)
    np.testing.assert_array_equal(ours.numpy(), published["hard_crf_10"])


def _mean_field(prior, image, iterations):
    """The formula, pixel by pixel, with dense kernels (N, N) that are normalised on both sides; STEGO's options."""
    rows, columns = np.mgrid[: image.shape[1], : image.shape[2]]
    places = np.stack([columns.ravel(), rows.ravel()], axis=1)
    colors = np.rint(image.reshape(3, -1).T * 255)
    kernels = []
    for points, weight in ((places / 1, 3), (np.concatenate([places / 67, colors / 3], axis=1), 4)):
        lattice = PermutohedralLattice(torch.from_numpy(points).float())
        dense = lattice.filter(torch.eye(len(points))).numpy()
        scale = 1 / np.sqrt(dense.sum(axis=1))
        kernels.append(weight * scale[:, None] * dense * scale)
    unary = -prior.reshape(len(prior), -1).T
    probabilities = np.exp(-unary) / np.exp(-unary).sum(axis=1, keepdims=True)
    for _ in range(iterations):
        energies = np.exp(-unary + sum(kernel @ probabilities for kernel in kernels))
        probabilities = energies / energies.sum(axis=1, keepdims=True)
    return probabilities.argmax(axis=1).reshape(image.shape[1:])


def test_several_labels_follow_the_formula_of_mean_field():
    rng = np.random.default_rng(0)
    image = np.repeat(rng.random((3, 1, 4)), 4, axis=2).repeat(9, axis=1) + rng.random((3, 9, 16)) / 50
    prior = rng.normal(size=(5, 9, 16))
    ours = dense_crf_labels(torch.from_numpy(prior), torch.from_numpy(image).float().clamp(0, 1)).numpy()
    np.testing.assert_array_equal(ours, _mean_field(prior, image.clip(0, 1), 10))
    assert (ours != prior.argmax(axis=0)).mean() > 0.2


def test_images_of_a_batch_equal_each_alone():
    mask, image = torch.rand(3, 1, 20, 30), torch.rand(3, 3, 20, 30)
    alone = torch.cat([dense_crf(mask[i : i + 1], image[i : i + 1]) for i in range(3)])
    assert torch.equal(dense_crf(mask, image), alone)
    assert dense_crf(mask[:0], image[:0]).shape == (0, 1, 20, 30)


def test_without_kernels_the_mask_is_cut_at_a_half():
    mask = torch.rand(1, 1, 9, 7)
    refined = DenseCRF(weight_smooth=0, weight_color=0)(mask, torch.rand(1, 3, 9, 7))
    assert torch.equal(refined, (mask > 0.5).float())


def test_what_cannot_be_refined_is_refused():
    image = torch.rand(1, 3, 8, 8)
    with pytest.raises(UserError, match="differ in batch or size"):
        dense_crf(torch.rand(1, 1, 8, 9), image)
    with pytest.raises(UserError, match="must be positive"):
        dense_crf(torch.rand(1, 1, 8, 8), image, sigma_color=0)
    with pytest.raises(UserError, match="too small"):
        dense_crf(torch.rand(1, 1, 8, 8), image, sigma_color=1e-5)


def test_two_classes_equal_a_mask(published):
    mask = torch.from_numpy(published["hard_mask"])[None, None].float()
    image = _image(published["hard_image"])
    # The prior of a mask is a softmax, too.
    ours = dense_crf_labels(torch.cat([1 - mask, mask], 1)[0], image[0], **dataclasses.asdict(DenseCRF()))
    np.testing.assert_array_equal(ours.numpy(), published["hard_crf_10"])


def test_four_classes_equal_pydensecrf():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:12, :16]
    classes = (columns * 3 // 16 + (rows > 6)) % 4
    colors = rng.integers(0, 256, (4, 3))[classes] + rng.normal(0, 12, (12, 16, 3))
    logits = np.eye(4)[classes].transpose(2, 0, 1) * 1.2 + rng.normal(0, 1, (4, 12, 16))
    # Blue first, as pydensecrf2 1.1 was given it.
    image = torch.from_numpy(colors.clip(0, 255).astype(np.uint8)[..., ::-1].copy()).permute(2, 0, 1) / 255
    ours = dense_crf_labels(torch.from_numpy(logits.astype(np.float32)), image)
    assert ["".join(map(str, row)) for row in ours.tolist()] == PYDENSECRF


def test_classes_are_refused_where_the_image_is_of_another_size():
    with pytest.raises(UserError, match="differ in batch or size"):
        dense_crf_labels(torch.rand(4, 8, 8), torch.rand(3, 8, 9))
