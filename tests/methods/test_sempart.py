import copy
import math
from dataclasses import asdict
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from segtricks.data.transforms import denormalize
from segtricks.errors import UserError
from segtricks.losses import multiscale_consistency_loss, normalized_cut_loss, self_consistency_loss
from segtricks.methods import LossWeights, Sempart
from segtricks.methods.crops import crop_and_enlarge, random_corners
from segtricks.refine import GuidedFilter, guided_filter


def make(**options):
    torch.manual_seed(0)
    return Sempart(backbone="descriptor", hidden_dim=8, refiner=GuidedFilter(radius=2), **options)


@pytest.fixture
def images():
    return torch.randn(3, 3, 32, 40, generator=torch.Generator().manual_seed(1))


def seeded():
    return torch.Generator().manual_seed(5)


def test_terms_are_the_losses_of_two_separate_head_calls(images):
    module = make().train()
    reference = copy.deepcopy(module)
    terms, fine = module.loss_terms(images, seeded())

    corners = random_corners(3, (32, 40), (16, 20), seeded())
    crops = crop_and_enlarge(images, corners, (16, 20))
    output = reference.head(reference.backbone(images), images)
    crop_output = reference.head(reference.backbone(crops), crops)
    expected_fine = output.fine.sigmoid()
    teacher = guided_filter(crop_output.fine.sigmoid(), denormalize(crops), 2)
    student = crop_and_enlarge(expected_fine, corners, (16, 20))
    torch.testing.assert_close(fine, expected_fine)
    torch.testing.assert_close(terms["self_consistency"], self_consistency_loss(output.coarse.sigmoid(), expected_fine))
    torch.testing.assert_close(terms["consistency"], multiscale_consistency_loss(student, teacher))
    crop_cut = normalized_cut_loss(reference.backbone(crops), crop_output.coarse.sigmoid(), module.tau)
    torch.testing.assert_close(terms["ncut_crop"], crop_cut)
    for ours, theirs in zip(module.head.buffers(), reference.head.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, msg="running statistics of both calls")


def test_total_is_the_weighted_sum(images):
    weights = LossWeights(ncut=1, self_consistency=2, image_tv=3, feature_tv=4, consistency=5, ncut_crop=6)
    module = make(weights=weights)
    terms, _ = module.loss_terms(images, seeded())
    expected = sum(asdict(weights)[name] * term.item() for name, term in terms.items())
    assert module.total(terms).item() == pytest.approx(expected, rel=1e-5)


def test_paper_weights_are_the_default():
    assert asdict(LossWeights()) == {
        "ncut": 1, "self_consistency": 1, "image_tv": 1, "feature_tv": 1, "consistency": 0.01, "ncut_crop": 0.01
    }  # fmt: skip


def test_without_crop_there_is_no_crop_term_and_one_backbone_image_each(images):
    module = make(crop=False)
    seen = []
    module.backbone.register_forward_hook(lambda m, args, out: seen.append(len(args[0])))
    terms, _ = module.loss_terms(images, seeded())
    assert set(terms) == {"ncut", "self_consistency", "image_tv", "feature_tv"}
    assert seen == [3]


def test_image_and_crop_pass_the_backbone_in_one_batch(images):
    module = make()
    seen = []
    module.backbone.register_forward_hook(lambda m, args, out: seen.append(len(args[0])))
    module.loss_terms(images, seeded())
    assert seen == [6]


def test_consistency_moves_the_student_and_not_the_crops_fine_mask(images):
    module = make().eval()
    terms, _ = module.loss_terms(images, seeded())
    terms["consistency"].backward()
    assert module.head.fine.weight.grad.abs().sum() > 0
    # In eval mode the student's gradient through the whole image is all there is.
    student_only = make().eval()
    corners = random_corners(3, (32, 40), (16, 20), seeded())
    fine = student_only(images).fine.sigmoid()
    crops = crop_and_enlarge(images, corners, (16, 20))
    with torch.no_grad():
        teacher = guided_filter(student_only(crops).fine.sigmoid(), denormalize(crops), 2)
    multiscale_consistency_loss(crop_and_enlarge(fine, corners, (16, 20)), teacher).backward()
    for ours, theirs in zip(module.head.parameters(), student_only.head.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_guided_filter_switch_changes_the_teacher_alone(images):
    on, _ = make(guided_filter=True).loss_terms(images, seeded())
    off, _ = make(guided_filter=False).loss_terms(images, seeded())
    assert {name for name in on if on[name] != off[name]} == {"consistency"}


def test_backbone_stays_frozen_and_out_of_the_optimiser():
    module = make().train()
    assert not module.backbone.training
    optimised = {id(p) for group in module.configure_optimizers().param_groups for p in group["params"]}
    assert optimised == {id(p) for p in module.head.parameters()}


def test_default_optimiser_is_the_papers():
    optimizer = make().configure_optimizers()
    assert type(optimizer) is torch.optim.AdamW
    group = optimizer.param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-4, (0.9, 0.99), 0)


def test_tau_is_the_backbones_own_unless_given():
    assert make().tau == make().backbone.tau
    assert make(tau=0.123).tau == 0.123


def test_averaged_teacher_follows_slowly_and_gives_the_target(images):
    module = make(teacher="ema", ema_decay=0.9)
    before = copy.deepcopy(module.ema.module.state_dict())
    with torch.no_grad():
        for parameter in module.head.parameters():
            parameter.add_(1.0)
    module.ema.update_parameters(module.head)  # the first update copies
    with torch.no_grad():
        for parameter in module.head.parameters():
            parameter.add_(1.0)
    module.ema.update_parameters(module.head)
    for name, parameter in module.ema.module.named_parameters():
        torch.testing.assert_close(parameter, before[name] + 1.1, msg=name)
    assert not any(p.requires_grad for p in module.ema.parameters())
    terms, _ = module.loss_terms(images, seeded())
    shared = make()
    shared.head.load_state_dict(module.head.state_dict())
    assert terms["consistency"] != shared.loss_terms(images, seeded())[0]["consistency"]


def test_crops_depend_on_seed_and_step_only():
    module, same = make(seed=3), make(seed=3)
    draw = lambda m, step: random_corners(4, (99, 99), (9, 9), m._generator(step))  # noqa: E731
    assert draw(module, 7) == draw(same, 7)
    assert draw(module, 7) != draw(module, 8)
    assert draw(module, 7) != draw(make(seed=4), 7)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"crop_fraction": 0.0}, "crop_fraction"), ({"teacher": "twin"}, "shared or ema"), ({"protocol": "x"}, "fullres")],
)
def test_options_out_of_range_say_what_is_legal(options, said):
    with pytest.raises(UserError, match=said):
        make(**options)


def test_checkpoint_of_a_loss_that_is_no_number_is_refused():
    module = make()
    module._losses.add(torch.tensor(float("inf")), 7, ["a.jpg"])
    with pytest.raises(UserError, match=r"inf at step 7, on: a\.jpg"):
        module.on_save_checkpoint({"state_dict": {}})


def test_one_kernel_updates_as_many_did():
    module, plain = make(), make()
    expected = torch.optim.AdamW(
        plain.head.parameters(), lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, foreach=False, fused=False
    )
    optimizer = module.configure_optimizers()
    assert optimizer.param_groups[0]["fused"]
    for _ in range(3):
        for ours, theirs in zip(module.head.parameters(), plain.head.parameters(), strict=True):
            ours.grad = torch.randn_like(ours)
            theirs.grad = ours.grad.clone()
        optimizer.step()
        expected.step()
    for ours, theirs in zip(module.head.parameters(), plain.head.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)


def test_users_choice_of_kernels_is_kept():
    optimizer = make(optimizer=lambda parameters: torch.optim.AdamW(parameters, foreach=True)).configure_optimizers()
    assert (optimizer.param_groups[0]["foreach"], optimizer.param_groups[0]["fused"]) == (True, None)


def test_compiled_networks_give_the_same_losses_and_gradients(images, monkeypatch):
    calls = []

    def backend(graph, _):
        calls.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    plain, compiled = make(), make(compile=True)
    for module in (plain, compiled):
        module.total(module.loss_terms(images, seeded())[0]).backward()
    assert len(calls) >= 3, "backbone, encoder and decoder"
    assert list(compiled.state_dict()) == list(plain.state_dict())
    for ours, theirs in zip(compiled.head.parameters(), plain.head.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def saved(module):
    checkpoint = {"state_dict": module.state_dict(), "optimizer_states": [], "lr_schedulers": []}
    module.on_save_checkpoint(checkpoint)
    return checkpoint


def test_a_share_becomes_a_cosine_once_and_a_resumed_run_keeps_it_unless_it_is_changed(images):
    module = make(tau="share:0.5")
    module.loss_terms(images, seeded())
    cosine = module.affinity_threshold
    module.loss_terms(images.flip(0) * 3, seeded())
    assert module.affinity_threshold == cosine
    same, other, number = make(tau="share:0.5"), make(tau="share:0.3"), make(tau=0.2)
    for resumed in (same, other, number):
        resumed.on_load_checkpoint(saved(module))
    assert (same.affinity_threshold, other.affinity_threshold, number.affinity_threshold) == (cosine, None, 0.2)


def test_a_checkpoint_of_other_features_of_the_same_width_is_refused():
    keys = Sempart("vit_tiny_patch16_224", pretrained=False, hidden_dim=8)
    with pytest.raises(UserError, match="feature 'key' \\(here 'query'\\)"):
        Sempart("vit_tiny_patch16_224", pretrained=False, hidden_dim=8, feature="query").on_load_checkpoint(saved(keys))
    older = saved(keys)
    del older["segtricks"]["feature"], older["segtricks"]["layer"], older["tau"]
    keys.on_load_checkpoint(older)
    assert keys.affinity_threshold == 0.4, "what it was trained with, when every backbone had this tau"


def test_a_head_without_a_fine_part_learns_by_all_terms(images):
    module = make(fine=False)
    terms, fine = module.loss_terms(images, seeded())
    assert set(terms) == {*asdict(LossWeights())} and fine.shape == (3, 1, 32, 40)
    module.total(terms).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.head.parameters())


def test_a_checkpoint_with_a_fine_part_and_a_head_without_refuse_each_other():
    fine, coarse = make(), make(fine=False)
    with pytest.raises(UserError, match="fine True \\(here False\\)"):
        coarse.on_load_checkpoint(saved(fine))
    with pytest.raises(UserError, match="fine False \\(here True\\)"):
        fine.on_load_checkpoint(saved(coarse))
    older = saved(fine)
    del older["segtricks"]["fine"]
    fine.on_load_checkpoint(older)


def test_cosine_reaches_zero_at_the_last_step_of_the_training(monkeypatch):
    module = make(schedule="cosine")
    monkeypatch.setattr(Sempart, "trainer", SimpleNamespace(estimated_stepping_batches=5, callbacks=[]), raising=False)
    plan = module.configure_optimizers()
    rates = []
    for _ in range(5):
        plan["optimizer"].step()
        plan["lr_scheduler"]["scheduler"].step()
        rates.append(plan["optimizer"].param_groups[0]["lr"])
    assert rates == pytest.approx([1e-4 * (1 + math.cos(math.pi * step / 5)) / 2 for step in range(1, 6)])
    assert plan["lr_scheduler"]["interval"] == "step" and rates[-1] == 0


def test_cosine_needs_an_end_and_no_other_schedule(monkeypatch):
    monkeypatch.setattr(
        Sempart, "trainer", SimpleNamespace(estimated_stepping_batches=math.inf, callbacks=[]), raising=False
    )
    with pytest.raises(UserError, match=r"--trainer\.max_epochs or"):
        make(schedule="cosine").configure_optimizers()
    with pytest.raises(UserError, match="leave out one"):
        make(schedule="cosine", lr_scheduler=torch.optim.lr_scheduler.ConstantLR)


def test_a_data_module_that_hands_out_no_sample_trains_all_the_same(monkeypatch, images):
    module = make(tau="share:0.5")
    monkeypatch.setattr(Sempart, "trainer", SimpleNamespace(datamodule=None), raising=False)
    module.on_fit_start()
    assert module.graph is None and module.affinity_threshold is None
    module.loss_terms(images, seeded())
    assert module.affinity_threshold is not None, "the first batch decides"


class Area(Sempart):
    def loss_terms(self, images, generator):
        terms, fine = super().loss_terms(images, generator)
        return terms | {"area": fine.mean()}, fine


def test_a_term_of_a_subclass_needs_a_weight_and_counts_by_it():
    module = Area(backbone="descriptor", hidden_dim=8)
    terms, fine = module.loss_terms(torch.randn(2, 3, 32, 32), torch.Generator().manual_seed(0))
    with pytest.raises(UserError, match=r'term area of Area has no weight.*\nNext: .*own_weights\["area"\]'):
        module.total(terms)
    module.own_weights["area"] = 0.5
    others = Sempart.total(module, {name: term for name, term in terms.items() if name != "area"})
    torch.testing.assert_close(module.total(terms), others + 0.5 * fine.mean())
