import pytest
import torch
from PIL import Image
from torch.nn.functional import cosine_similarity

from segtricks.data import NeighbourDataModule, SyntheticShapes
from segtricks.data.neighbours import FiveCrops, nearest, read_neighbours, write_neighbours
from segtricks.data.sample import SegmentationDataset
from segtricks.errors import UserError


def test_neighbours_are_the_most_similar_others_in_order(monkeypatch):
    monkeypatch.setattr("segtricks.data.neighbours._ROWS", 4)
    vectors = torch.randn(10, 5)
    found = nearest(vectors, 3)
    for place, row in enumerate(found.tolist()):
        alike = cosine_similarity(vectors[place][None], vectors)
        order = [other for other in alike.argsort(descending=True).tolist() if other != place]
        assert row == order[:3]
    vectors[3] = 2 * vectors[7]  # as similar to each other as to themselves
    found = nearest(vectors, 3)
    assert found[3, 0] == 7 and found[7, 0] == 3
    assert nearest(vectors[:2], 7).tolist() == [[1], [0]]


def test_a_table_is_read_only_for_what_it_belongs_to(tmp_path):
    assert read_neighbours(tmp_path, "a") is None
    table = torch.tensor([[1, 2], [0, 2], [1, 0]])
    write_neighbours(tmp_path, table, "a")
    assert torch.equal(read_neighbours(tmp_path, "a"), table)
    assert read_neighbours(tmp_path, "b") is None
    (tmp_path / "neighbours.npz").write_bytes(b"PK damaged")
    assert read_neighbours(tmp_path, "a") is None


@pytest.fixture
def photos(tmp_path):
    shapes = SyntheticShapes(12, 48)
    (tmp_path / "photos").mkdir()
    for i in range(len(shapes)):
        Image.fromarray(shapes.read_image(i).permute(1, 2, 0).numpy()).save(tmp_path / f"photos/{i:02}.png")
    return tmp_path / "photos"


def _module(photos, **options):
    defaults = {"train": str(photos), "test": [], "size": 32, "resize": 40, "batch_size": 4, "num_workers": 0}
    data = NeighbourDataModule(**(defaults | {"held_out": 2} | options))
    count = len(data.train_dataset)
    data.use_neighbours(torch.stack([(torch.arange(count) + 1) % count, (torch.arange(count) + 2) % count], dim=1))
    return data


def _batches(data):
    return [data.on_after_batch_transfer(batch, 0) for batch in data.train_dataloader()]


def test_a_batch_holds_photographs_and_then_one_neighbour_of_each(photos):
    data = _module(photos, flip=0.0, jitter_p=0.0, grayscale_p=0.0, resize=32)
    (batch, *_) = _batches(data)
    assert batch["image"].shape == (8, 3, 32, 32) and len(batch["path"]) == 4
    middles = {item["path"][0]: data.on_after_batch_transfer(item, 0)["image"][0] for item in _single(data)}
    names = [str(path) for path in data.train_dataset.images]
    for place, path in enumerate(batch["path"]):
        torch.testing.assert_close(batch["image"][place], middles[path])
        near = [names[(names.index(path) + step) % len(names)] for step in (1, 2)]
        assert any(torch.equal(batch["image"][4 + place], middles[name]) for name in near)


def _single(data):
    data.eval_batch_size = 1
    return data.middles()


@pytest.mark.parametrize("options", [{"num_workers": 2}, {"colors_on": "workers"}])
def test_neither_workers_nor_the_place_of_the_colours_change_a_pair(photos, options):
    for one, other in zip(_batches(_module(photos)), _batches(_module(photos, **options)), strict=True):
        torch.testing.assert_close(one["image"], other["image"])
        assert one["path"] == other["path"]


def test_a_pair_of_which_a_file_is_damaged_is_skipped(photos):
    (photos / "03.png").write_bytes(b"damaged")
    data = _module(photos, batch_size=10)
    (batch,) = _batches(data)
    assert len(batch["image"]) == 2 * len(batch["path"]) == 20 - 2 * len(batch["skipped"])
    assert {path for path, _ in batch["skipped"]} <= {str(photos / "03.png")}
    (middles,) = list(_module(photos, eval_batch_size=20).middles())
    assert len(middles["place"]) == 10 - len(middles["skipped"])


def test_neighbours_belong_to_the_photographs_their_size_and_the_network(photos):
    keys = [
        _module(photos).neighbours_key("a"),
        _module(photos).neighbours_key("b"),
        _module(photos, size=24).neighbours_key("a"),
        _module(photos, held_out=3).neighbours_key("a"),
        _module(photos, five_crops=True).neighbours_key("a"),
        _module(photos, neighbours=2).neighbours_key("a"),
    ]
    assert len(set(keys)) == len(keys)
    assert _module(photos, seed=1).neighbours_key("a") == keys[0]


def test_impossible_choices_are_refused(photos):
    with pytest.raises(UserError, match="pass 1 or more"):
        _module(photos, neighbours=0)
    with pytest.raises(UserError, match="leave out"):
        _module(photos, five_crops=True, cache=True)
    data = NeighbourDataModule(str(photos), [], held_out=2, batch_size=2)
    with pytest.raises(UserError, match="--config stego"):
        data.train_dataloader()
    data.ask_for_targets("labels")
    with pytest.raises(UserError, match="probe learns label maps"):
        data.check()


def test_five_crops_are_the_corners_and_the_middle_of_image_and_labels(tmp_path):
    pixels = torch.arange(8 * 12, dtype=torch.uint8).view(8, 12)
    for name in ("photo", "labels"):
        Image.fromarray(pixels.numpy()).save(tmp_path / f"{name}.png")
    whole = SegmentationDataset("one", [tmp_path / "photo.png"], [tmp_path / "labels.png"]).with_targets("labels")
    crops = FiveCrops(whole)
    expected = [pixels[:4, :6], pixels[:4, 6:], pixels[4:, :6], pixels[4:, 6:], pixels[2:6, 3:9]]
    assert len(crops) == 5 and crops.target_kind == "labels"
    for place, part in enumerate(expected):
        assert torch.equal(crops[place]["image"], part.expand(3, 4, 6))
        assert torch.equal(crops[place]["target"], part[None].long())
    assert torch.equal(crops.select([4, 1])[0]["image"][0], expected[4])
