import numpy as np
import pytest
import torch
from PIL import Image

from segtricks.backbones import create_backbone
from segtricks.data.transforms import normalize
from segtricks.discovery import mask_contrast
from segtricks.errors import UserError
from segtricks.methods import MaskCut
from segtricks.refine import dense_crf


@pytest.fixture
def photo():
    """A photograph uint8 (3, 96, 160) of two plain objects on a dark ground, and their masks."""
    picture = torch.randint(20, 30, (3, 96, 160), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    objects = torch.zeros(2, 96, 160, dtype=torch.bool)
    objects[0, 19:75, 13:61] = objects[1, 27:67, 99:139] = True
    for mask, colour in zip(objects, ([220, 60, 30], [40, 80, 230]), strict=True):
        picture[:, mask] = torch.tensor(colour, dtype=torch.uint8)[:, None]
    return picture, objects


def _predict(module, photo):
    image = normalize(photo / 255)
    return module.predict_step({"image": [image], "photo": [photo], "path": ["a"], "skipped": []}, 0)[0]


def _ious(masks, objects):
    shared = (masks[:, None] & objects[None]).sum((2, 3))
    return shared / (masks[:, None] | objects[None]).sum((2, 3))


@pytest.mark.parametrize("refine", ["dense_crf", "bilateral_solver", "guided_filter", "none"])
def test_both_objects_are_found_whatever_refines_them(photo, refine):
    picture, objects = photo
    instances = _predict(MaskCut("descriptor", refine=refine), picture)
    assert instances.masks.shape[1:] == (96, 160) and instances.labels.unique().tolist() == [1]
    best = _ious(instances.masks, objects).amax(0)
    assert (best > 0.7).all()
    assert instances.scores.min() > 0.1


def test_masks_are_refined_one_by_one_and_scored_as_they_were_cut(photo):
    picture, _ = photo
    cut, refined = (_predict(MaskCut("descriptor", refine=refine), picture) for refine in ("none", "dense_crf"))
    expected = dense_crf(cut.masks[:, None].float(), picture[None] / 255)[:, 0] > 0
    assert torch.equal(refined.masks, expected)  # without holes
    features = create_backbone("descriptor")(normalize(picture / 255)[None])
    on_patches = cut.masks[:, 4::8, 4::8].float()
    torch.testing.assert_close(cut.scores, mask_contrast(features, on_patches[None])[0])
    assert torch.equal(refined.scores, cut.scores)


def test_masks_that_refinement_changes_too_much_are_dropped(photo):
    assert len(_predict(MaskCut("descriptor", min_iou=1.0), photo[0]).masks) == 0


def test_rounds_limit_the_masks_and_a_uniform_photograph_has_none(photo):
    assert len(_predict(MaskCut("descriptor", rounds=1), photo[0]).masks) == 1
    empty = _predict(MaskCut("descriptor"), torch.full((3, 64, 64), 90, dtype=torch.uint8))
    assert empty.masks.shape == (0, 64, 64) and empty.scores.shape == (0,)


@pytest.mark.parametrize("place", ["model", "full"])
def test_in_python_a_photograph_of_another_size_gives_one_mask_an_object(photo, place):
    picture, objects = photo
    large = Image.fromarray(picture.permute(1, 2, 0).numpy()).resize((320, 192), Image.Resampling.NEAREST)
    module = MaskCut("descriptor", refine_at=place)
    module.input_size = 96
    masks = module.masks(large)
    assert masks.dtype == np.float32 and masks.shape[1:] == (192, 320)
    doubled = objects.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert (_ious(torch.from_numpy(masks > 0.5), doubled).amax(0) > 0.85).all()


def test_test_scores_the_union_and_nothing_is_trained(photo):
    module = MaskCut("descriptor", refine="none")
    union = module.soft_masks(normalize(photo[0] / 255)[None])
    assert torch.equal(union[0, 0] > 0, _predict(module, photo[0]).masks.any(0))
    with pytest.raises(UserError, match="segtricks discover --method maskcut"):
        module.configure_optimizers()


def test_a_panorama_is_cut_at_fewer_patches_and_keeps_its_size():
    photo = torch.full((3, 64, 512), 20, dtype=torch.uint8)
    photo[0, 16:48, 60:100] = photo[2, 16:48, 300:340] = 220
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segtricks.methods.maskcut._PATCHES", 200)
        module = MaskCut("descriptor", refine="none")
        seen = []
        module.backbone.register_forward_pre_hook(lambda module, given: seen.append(given[0].shape[-2:]))
        instances = _predict(module, photo)
    assert seen == [(40, 320)] and instances.masks.shape[1:] == (64, 512) and len(instances.masks) > 0
