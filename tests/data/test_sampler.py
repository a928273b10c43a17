import pytest
from torch.utils.data import BatchSampler, DistributedSampler

from segtricks.data.datasets.synthetic import SyntheticShapes
from segtricks.data.sampler import EpochSampler, ShareBatches, ShareSampler, position


def sampler(count: int = 20, batch_size: int = 4, rank: int = 0, world: int = 1, **options) -> EpochSampler:  # type: ignore[no-untyped-def]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segtricks.data.sampler.process_rank", lambda: (rank, world))
        return EpochSampler(SyntheticShapes(count, 16), batch_size, **options)


def test_an_epoch_is_a_permutation_with_its_number() -> None:
    keys = list(sampler())
    assert {epoch for epoch, _ in keys} == {0}
    assert sorted(index for _, index in keys) == list(range(20))


def test_the_order_depends_on_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[tuple[int, int]]:
        one = sampler(seed=seed)
        one.set_epoch(epoch)
        return list(one)

    assert order(0, 3) == order(0, 3)
    assert [i for _, i in order(0, 3)] != [i for _, i in order(0, 4)]
    assert [i for _, i in order(0, 3)] != [i for _, i in order(1, 3)]


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_an_epoch_in_equal_parts_without_overlap(world: int) -> None:
    shares = [list(sampler(rank=rank, world=world)) for rank in range(world)]
    assert {len(share) for share in shares} == {20 // world}
    assert all(len(sampler(rank=rank, world=world)) == 20 // world for rank in range(world))
    indices = [index for share in shares for _, index in share]
    assert len(indices) == len(set(indices)) == 20 // world * world


def test_resuming_leaves_out_exactly_the_batches_seen() -> None:
    whole = sampler()
    whole.set_epoch(2)
    batches = list(BatchSampler(whole, 4, drop_last=True))
    rest = sampler()
    rest.resume(2, 3)
    assert list(BatchSampler(rest, 4, drop_last=True)) == batches[3:]
    assert len(rest) == 20  # the trainer counts on the whole epoch
    rest.set_epoch(3)
    whole.set_epoch(3)
    assert list(rest) == list(whole)


def test_resuming_one_of_two_processes() -> None:
    whole, rest = sampler(rank=1, world=2), sampler(rank=1, world=2)
    rest.resume(0, 1)
    assert list(rest) == list(whole)[4:]


def test_the_clock_beats_what_the_trainer_says() -> None:
    one = sampler(clock=lambda: 5)
    one.set_epoch(6)
    assert {epoch for epoch, _ in one} == {5}


def test_lightning_leaves_distributed_samplers_in_place() -> None:
    assert issubclass(EpochSampler, DistributedSampler)
    assert issubclass(ShareSampler, DistributedSampler)


def test_test_images_are_shared_without_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []
    for rank in range(3):
        monkeypatch.setattr("segtricks.data.sampler.process_rank", lambda rank=rank: (rank, 3))
        share = ShareSampler(SyntheticShapes(10, 16))
        shares.append(list(share))
        assert len(share) == len(shares[-1])
    assert shares == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]


@pytest.mark.parametrize(("images", "batch"), [(10, 2), (17, 8), (3, 8), (16, 4)])
def test_every_image_is_in_one_batch_of_one_process_and_all_have_as_many(
    monkeypatch: pytest.MonkeyPatch, images: int, batch: int
) -> None:
    shares = []
    for rank in range(2):
        monkeypatch.setattr("segtricks.data.sampler.process_rank", lambda rank=rank: (rank, 2))
        batches = ShareBatches(SyntheticShapes(images, 16), batch)
        shares.append(list(batches))
        assert len(batches) == len(shares[-1])
        assert max(map(len, batches)) <= batch
    assert len(shares[0]) == len(shares[1])
    assert sorted(index for share in shares for indices in share for index in indices) == list(range(images))


@pytest.mark.parametrize(
    ("started", "processed", "batches", "expected"),
    [
        (0, 0, 0, (0, 0)),  # before the first epoch
        (1, 0, 3, (0, 3)),  # within it
        (1, 0, 10, (1, 0)),  # after its last batch, while it validates
        (1, 1, 10, (1, 0)),  # at its end
        (5, 4, 7, (4, 7)),
    ],
)
def test_position(started: int, processed: int, batches: int, expected: tuple[int, int]) -> None:
    loops = {
        "epoch_progress": {"current": {"started": started, "processed": processed}},
        "epoch_loop.batch_progress": {"current": {"processed": batches}},
    }
    assert position(loops, 10) == expected
