import numpy as np
import pytest
import torch

from segtricks.heads import ClusterProbe, StegoHead


@pytest.fixture
def published(golden):
    return {name: torch.from_numpy(array) for name, array in np.load(golden / "u2seg_stego.npz").items()}


def test_codes_equal_the_first_implementation(published):
    head = StegoHead(32, 10).eval()
    weights = {name.removeprefix("head_").replace("linear.0", "linear", 1): value for name, value in published.items()
               if name.startswith("head_linear")}  # fmt: skip
    weights |= {name.removeprefix("head_"): value for name, value in published.items() if "nonlinear" in name}
    head.load_state_dict(weights)
    torch.testing.assert_close(head(published["features"]), published["head_code"])


def test_each_branch_drops_channels_of_its_own_in_training():
    head, features = StegoHead(8, 4, dropout=0.5), torch.ones(1, 8, 2, 2)
    seen = []
    for branch in (head.linear, head.nonlinear):
        branch.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    head(features)
    assert all((kept == kept[..., :1, :1]).all() for kept in seen), "whole channels"
    assert not torch.equal(*seen)


def test_probe_equals_the_first_implementation(published):
    probe = ClusterProbe(10, 9)
    probe.load_state_dict({"clusters": published["probe_clusters"]})
    hard, soft = probe(published["code"]), probe(published["code"], alpha=2)
    torch.testing.assert_close(hard.loss.detach(), published["probe_loss_hard"])
    torch.testing.assert_close(soft.loss.detach(), published["probe_loss_alpha2"])
    assert torch.equal(hard.probabilities.argmax(1), published["probe_assignment"])
    assert hard.probabilities.sum(1).unique().tolist() == [1]
    log = probe.log_probabilities(published["code"])
    torch.testing.assert_close(log.detach(), published["probe_log_probs_alpha2"])
    torch.testing.assert_close(log.exp(), soft.probabilities)


def test_training_turns_a_cluster_to_its_codes():
    code = torch.tensor([0.0, 1.0])[None, :, None, None]
    probe = ClusterProbe(2, 1)
    optimizer = torch.optim.SGD(probe.parameters(), lr=0.5)
    for _ in range(100):
        optimizer.zero_grad()
        loss = probe(code).loss
        loss.backward()
        optimizer.step()
    assert loss < -0.99


def test_the_probe_is_not_rounded_by_autocast():
    probe = ClusterProbe(8, 5)
    code = torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    expected = probe(code).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert probe(code).loss.equal(expected)
