"""Weights of an earlier run to start a training from, whose classes may be others."""

from collections.abc import Mapping, Set
from typing import Any

from torch import Tensor, nn

from segtricks.runs import checkpoint_of, existing_run
from segtricks.training.checkpoints import check_identity, read_checkpoint


def load_earlier_run(
    module: nn.Module, run: str, identity: Mapping[str, Any], predictors: Mapping[str, Set[str]]
) -> None:
    """Load the best checkpoint of a run, or the last one, but not what predicts classes that are others now.

    Nor what is of another shape for that.

    Args:
        module: gets the weights.
        run: its folder, or its name below ``runs/``.
        identity: of ``module``.
        predictors: names of modules, by the keys of the identity, joined by blanks, that they belong to. All else must
            be the same in both.

    Raises:
        UserError: there is no such run or checkpoint, or it is of another network.
    """
    content = read_checkpoint(checkpoint_of(existing_run(run)))
    of_classes = {key for keys in predictors for key in keys.split()}
    check_identity(content, {key: value for key, value in identity.items() if key not in of_classes})
    before = content["segtricks"]
    differing = {key for key in of_classes if before.get(key) != identity.get(key)}
    changed = [keys for keys in predictors if differing.intersection(keys.split())]
    replaced = {name for keys in changed for name in predictors[keys]}
    state: dict[str, Tensor] = content["state_dict"]
    kept = {
        name: state[name]
        for name, own in module.state_dict().items()
        if name in state and state[name].shape == own.shape and not replaced & set(name.split("."))
    }
    module.load_state_dict(kept, strict=False)
