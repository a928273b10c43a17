import numpy as np
import pytest
import torch

from segtricks.backbones.positions import resize_positions
from segtricks.errors import UserError
from segtricks.methods import Found, SelfMask, Sempart
from segtricks.methods.graph_files import OnnxFile
from segtricks.methods.mask_graph import GraphInput, resize_by_products, trace

PATCH = 16


def _model(kind, **options):
    """A tiny ViT, and batch norms that are not the identity."""
    module = kind("test_vit", pretrained=False, **options).eval()
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return module


def _photographs(*shape):
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


def _own(module, photographs, patch=PATCH):
    """The masks that segtricks predicts of photographs of a size at which nothing is resized."""
    module.input_size, module.input_multiple = min(photographs.shape[1:3]), patch
    return np.stack([module.masks(photograph) for photograph in photographs])


@pytest.mark.parametrize("grid", [(37, 37), (24, 24), (20, 31), (50, 37), (1, 3)])
def test_positions_are_resized_as_by_interpolate(grid):
    positions = torch.randn(1, 8, 37, 37)
    torch.testing.assert_close(
        resize_by_products(positions, grid), resize_positions(positions, grid), rtol=0, atol=1e-4
    )


def test_one_file_of_onnx_takes_any_number_of_photographs_of_any_sides(tmp_path):
    pytest.importorskip("onnxscript", reason="torch writes ONNX by it")
    pytest.importorskip("onnxruntime", reason="it reads ONNX")
    module = _model(Sempart, hidden_dim=8, layer=0)
    module.sign.votes[0] = 1  # inverted
    resize = module.backbone.model.patch_embed.resize
    program = trace(module, GraphInput(160, PATCH, True))
    assert module.backbone.model.patch_embed.resize is resize
    OnnxFile.write(program, tmp_path / "model.onnx", {"size": "160"})
    assert str(tmp_path.parent).encode() not in (tmp_path / "model.onnx").read_bytes()
    run = OnnxFile.open(tmp_path / "model.onnx")
    for shape in ((2, 160, 176), (1, 144, 128), (3, 192, 224)):
        photographs = _photographs(*shape)
        np.testing.assert_allclose(run(photographs), _own(module, photographs), rtol=0, atol=1e-4)


def test_a_graph_of_the_descriptor_takes_a_single_photograph_of_any_sides():
    module = Sempart("descriptor4", pretrained=False, hidden_dim=8).eval()
    graph = trace(module, GraphInput(64, 4, True)).module()  # torch checks here what it took for granted
    for shape in ((1, 64, 64), (2, 48, 100)):
        photographs = _photographs(*shape)
        masks = graph(torch.from_numpy(photographs)).detach()
        np.testing.assert_allclose(masks, _own(module, photographs, patch=4), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "options"), [(SelfMask, {"num_layers": 1, "guided_filter": True}), (Found, {})])
def test_the_graph_of_other_methods_gives_their_masks(kind, options):
    module = _model(kind, **options)
    program = trace(module, GraphInput(96, PATCH, False))
    photographs = _photographs(1, 96, 96)
    masks = program.module()(torch.from_numpy(photographs)).detach()
    np.testing.assert_allclose(masks, _own(module, photographs), rtol=0, atol=1e-5)


def test_what_torch_cannot_trace_is_two_lines(monkeypatch):
    module = _model(Found)
    monkeypatch.setattr(module, "soft_masks", lambda images: images[:, :1] if images.max() > 0 else images)
    with pytest.raises(UserError, match=r"(?s)cannot trace this model.*Next: leave out --dynamic\.") as error:
        trace(module, GraphInput(96, PATCH, True))
    assert str(error.value).count("\n") == 1
