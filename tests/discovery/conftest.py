from typing import Any

import numpy as np
import pytest
import torch


@pytest.fixture(params=[0, 1, 2])
def published(request, golden) -> dict[str, Any]:
    """Inputs and outputs of the first implementations: ``features`` (1, 64, h, w) and the file's arrays."""
    arrays = dict(np.load(golden / f"discovery_{request.param}.npz"))
    height, width = arrays["grid"]
    features = torch.from_numpy(arrays["features_cls_first"][1:]).T.reshape(1, -1, height, width)
    return arrays | {"features": features, "patch": int(arrays["patch"])}


@pytest.fixture
def two_regions() -> torch.Tensor:
    """Features (1, 8, 6, 7) of a 2x3 object at rows 1-2, columns 2-4, opposite to its background."""
    noise = 0.05 * torch.randn(1, 8, 6, 7, generator=torch.Generator().manual_seed(0))
    direction = torch.ones(1, 8, 6, 7)
    direction[..., 1:3, 2:5] = -1
    return direction + noise


@pytest.fixture
def with_broken(two_regions) -> torch.Tensor:
    """A batch of an image with a nan, a uniform one, one of zeros, one with an infinity, and a sound one."""
    nan, infinite = two_regions.clone(), two_regions.clone()
    nan[0, 0, 0, 0], infinite[0, 1, 2, 3] = float("nan"), float("inf")
    return torch.cat([nan, torch.ones_like(two_regions), torch.zeros_like(two_regions), infinite, two_regions])
