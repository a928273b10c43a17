"""Two processes and one give the same, on a count that does not divide evenly and with the project's own sampler."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from segtricks.data.sampler import ShareSampler
from segtricks.metrics import CorLoc, SaliencyScores, get_protocol

COUNT = 7
INTEGERS = ("images", "counted", "bin_images")


def _images():
    generator = torch.Generator().manual_seed(0)
    pred = torch.rand(COUNT, 1, 12, 10, generator=generator)
    target = torch.rand(COUNT, 1, 12, 10, generator=generator) > 0.7
    pred[2], target[2] = 0, False
    return pred, target


def _score(indices):
    pred, target = _images()
    scores, corloc = SaliencyScores(get_protocol("fullres")), CorLoc()
    for i in indices:
        scores.update(pred[i : i + 1], target[i : i + 1])
        corloc.update(pred[i : i + 1], [torch.tensor([[0, 0, 6 + i, 12]])])
    return scores, corloc


def _process(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    scores, corloc = _score(ShareSampler(range(COUNT)))
    figures = {**scores.compute(), "corloc": corloc.compute()}
    with scores.sync_context(), corloc.sync_context():
        integers = {name: getattr(scores, name).clone() for name in INTEGERS} | {"hits": corloc.hits.clone()}
    torch.save({"figures": figures, "integers": integers}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_give_the_integers_and_figures_of_one(tmp_path):
    if not dist.is_gloo_available():
        pytest.skip("this torch has no gloo")
    mp.spawn(_process, args=(str(tmp_path),), nprocs=2)
    scores, corloc = _score(range(COUNT))
    expected = {**scores.compute(), "corloc": corloc.compute()}
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name in INTEGERS:
            assert torch.equal(found["integers"][name], getattr(scores, name))
        assert torch.equal(found["integers"]["hits"], corloc.hits)
        assert int(scores.images) == COUNT
        for name, value in expected.items():
            assert found["figures"][name].item() == pytest.approx(value.item(), rel=1e-14)
