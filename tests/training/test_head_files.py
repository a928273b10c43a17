import pytest
import torch
from lightning.pytorch import LightningModule
from safetensors import safe_open

from segtricks.errors import UserError
from segtricks.training.head_files import read_head, write_head


class _Module(LightningModule):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(2, 1).half()
        self.register_buffer("steps", torch.tensor(3))

    def on_save_checkpoint(self, checkpoint):
        checkpoint |= {"segtricks": {"backbone": "descriptor4", "layer": -1, "size": None}, "tau": 0.25, "loops": "x"}


def test_a_head_comes_back_in_single_precision_with_what_it_is_of(tmp_path):
    module, path = _Module(), tmp_path / "head.safetensors"
    write_head(module, path)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"backbone": "descriptor4", "layer": "-1", "size": "None", "tau": "0.25"}
        assert file.get_tensor("head.weight").dtype == torch.float16
    content = read_head(path, "fetch it again")
    assert content["segtricks"] == {"backbone": "descriptor4", "layer": -1, "size": None}
    assert content["tau"] == 0.25
    state = content["state_dict"]
    assert state["head.weight"].dtype == torch.float32
    assert state["steps"].dtype == torch.int64
    torch.testing.assert_close(state["head.weight"], module.head.weight.detach().float(), rtol=0, atol=0)


@pytest.mark.parametrize("content", [b"", b"not safetensors", None])
def test_a_damaged_or_missing_head_is_an_error_with_the_advice(tmp_path, content):
    path = tmp_path / "head.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"head.safetensors cannot be read .*\nNext: fetch it again\."):
        read_head(path, "fetch it again")
