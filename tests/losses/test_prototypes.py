import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from segtricks.losses import balanced_bce_loss, mask_contrastive_loss, mask_prototypes


@pytest.fixture(scope="module")
def arrays(golden: Path) -> dict[str, torch.Tensor]:
    """Golden values as tensors, masks and logits with their channel."""
    content = np.load(golden / "maskcontrast_losses.npz")
    found = {name: torch.from_numpy(np.asarray(value)) for name, value in content.items()}
    for name in ("query_mask", "key_mask", "saliency_logits", "grad_saliency_logits"):
        found[name] = found[name][:, None]
    return found


def test_prototypes_of_normalised_pixels_equal_the_first_implementation(arrays):
    pixels = normalize(arrays["key_embedding"], dim=1)
    prototypes = mask_prototypes(pixels, arrays["key_mask"])
    torch.testing.assert_close(prototypes, arrays["prototypes"], rtol=0, atol=1e-5)


def test_prototypes_add_raw_embeddings_by_weight_and_are_zero_without_any():
    embeddings = torch.randn(2, 3, 4, 5)
    weights = torch.rand(2, 1, 4, 5)
    weights[1] = 0
    expected = sum(weights[0, 0, i, j] * embeddings[0, :, i, j] for i in range(4) for j in range(5))
    found = mask_prototypes(embeddings, weights)
    torch.testing.assert_close(found[0], expected / expected.norm())
    assert torch.equal(found[1], torch.zeros(3))


def test_contrastive_loss_and_its_gradient_equal_the_first_implementation(arrays):
    embeddings = arrays["query_embedding"].requires_grad_()
    loss = mask_contrastive_loss(
        embeddings,
        arrays["query_mask"],
        arrays["prototypes"],
        arrays["queue_before"],
        float(arrays["temperature"]),
    )
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays["contrastive_loss"]), abs=1e-5)
    torch.testing.assert_close(embeddings.grad, arrays["grad_query_embedding"], rtol=0, atol=1e-7)


def test_contrastive_loss_of_two_pixels_by_hand():
    """Image 0 has one pixel on its prototype, image 1 one pixel between both prototypes."""
    embeddings = torch.tensor([[5.0, 0.0], [3.0, 3.0]])[:, :, None, None]
    loss = mask_contrastive_loss(embeddings, torch.ones(2, 1, 1, 1), torch.eye(2), torch.empty(0, 2), temperature=1.0)
    first = math.log(math.e + 1) - 1
    assert loss.item() == pytest.approx((first + math.log(2)) / 2, rel=1e-6)


def test_gradient_reaches_the_embeddings_of_the_foreground_alone():
    tensors = [torch.randn(2, 4, 3, 3), torch.randn(2, 4), torch.randn(5, 4)]
    embeddings, prototypes, negatives = (tensor.requires_grad_() for tensor in tensors)
    masks = torch.zeros(2, 1, 3, 3)
    masks[:, :, 1] = 1
    mask_contrastive_loss(embeddings, masks, prototypes, negatives).backward()
    assert prototypes.grad is None and negatives.grad is None
    assert torch.equal(embeddings.grad.abs().sum(1, keepdim=True) > 0, masks > 0)


def test_without_foreground_the_loss_is_zero_and_so_is_its_gradient():
    embeddings = torch.randn(2, 4, 3, 3, requires_grad=True)
    loss = mask_contrastive_loss(embeddings, torch.zeros(2, 1, 3, 3), torch.randn(2, 4), torch.randn(5, 4))
    loss.backward()
    assert loss.item() == 0 and not embeddings.grad.any()


def test_balanced_loss_and_its_gradient_equal_the_first_implementation(arrays):
    logits = arrays["saliency_logits"].requires_grad_()
    loss = balanced_bce_loss(logits, arrays["query_mask"])
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays["saliency_loss"]), abs=1e-5)
    torch.testing.assert_close(logits.grad, arrays["grad_saliency_logits"], rtol=0, atol=1e-7)
