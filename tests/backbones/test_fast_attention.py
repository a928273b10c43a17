import pytest
import torch
import torch.nn.functional as F

from segtricks.backbones import fast_attention as module
from segtricks.backbones.fast_attention import FastAttention, attention


@pytest.fixture
def plain(monkeypatch):
    """The way of plain products, on any machine, in several blocks of rows."""
    monkeypatch.setattr(module, "_plain_is_faster", lambda query: True)
    monkeypatch.setattr(module, "_BLOCK", 7 * 30)


def random_heads(dtype):
    # As a ViT hands them over: slices of one projection.
    return torch.randn(2, 30, 3, 4, 8).to(dtype).permute(2, 0, 3, 1, 4).unbind(0)


def test_plain_products_are_the_attention_of_torch(plain):
    heads = random_heads(torch.float64)
    torch.testing.assert_close(attention(*heads), F.scaled_dot_product_attention(*heads))


def test_bfloat16_keeps_its_dtype_under_autocast_and_stays_near(plain):
    heads = random_heads(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        ours = attention(*heads)
    assert ours.dtype == torch.bfloat16
    expected = F.scaled_dot_product_attention(*(x.double() for x in heads))
    torch.testing.assert_close(ours.double(), expected, rtol=0, atol=0.03)


def test_gradients_are_those_of_torch(plain):
    projections = [torch.randn(1, 5, 3, 2, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    projections[1].data = projections[0].data.clone()
    for projection, attend in zip(projections, (attention, F.scaled_dot_product_attention), strict=True):
        attend(*projection.permute(2, 0, 3, 1, 4).unbind(0)).square().sum().backward()
    torch.testing.assert_close(projections[0].grad, projections[1].grad)


def test_context_takes_plain_calls_only(monkeypatch):
    taken = []
    monkeypatch.setattr(module, "attention", lambda query, key, value: taken.append(query) or value)
    q, k, v = random_heads(torch.float32)
    with FastAttention():
        F.scaled_dot_product_attention(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False)
        assert len(taken) == 1
        masked = F.scaled_dot_product_attention(q, k, v, attn_mask=torch.ones(30, 30, dtype=torch.bool))
        causal = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        scaled = F.scaled_dot_product_attention(q, k, v, scale=1.0)
    assert len(taken) == 1
    assert len({x.sum().item() for x in (masked, causal, scaled)}) == 3


@pytest.mark.parametrize(
    ("capabilities", "dtype", "expected"),
    [
        ({"avx512_bf16": True, "amx_tile": False}, torch.bfloat16, True),
        ({"avx512_bf16": True, "amx_tile": False}, torch.float32, False),
        ({"avx512_bf16": True, "amx_tile": True}, torch.bfloat16, False),
        ({}, torch.bfloat16, False),
    ],
)
def test_plain_products_are_for_bfloat16_with_avx512_and_without_amx(monkeypatch, capabilities, dtype, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert module._plain_is_faster(torch.zeros(1, 1, 4, 2, dtype=dtype)) is expected


def test_long_sequences_keep_no_weights_for_the_gradient(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    query = torch.zeros(1, 1, module._TRAINED_TOKENS + 1, 2, dtype=torch.bfloat16, requires_grad=True)
    assert not module._plain_is_faster(query)
    with torch.no_grad():
        assert module._plain_is_faster(query)
