"""Weights of an earlier run to start a training from, whose classes may be others."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from segtricks.runs import checkpoint_of, existing_run
from segtricks.training.checkpoints import check_identity, read_checkpoint

log = logging.getLogger(__name__)


def load_earlier_run(
    module: nn.Module, run: str, identity: Mapping[str, Any], predictors: Mapping[str, Sequence[str]]
) -> None:
    """Load the best checkpoint of a run, or the last one, without the predictors of classes that are others now.

    Args:
        module: gets the weights.
        run: its folder, or its name below ``runs/``.
        identity: of ``module``.
        predictors: where names of parameters begin, by the keys of the identity, joined by blanks, that they belong
            to. All else must be the same in both.

    Raises:
        UserError: there is no such run or checkpoint, or it is of another network.
    """
    path = checkpoint_of(existing_run(run))
    content = read_checkpoint(path)
    of_classes = {key for keys in predictors for key in keys.split()}
    check_identity(content, {key: value for key, value in identity.items() if key not in of_classes})
    before = content["segtricks"]
    changed = [keys for keys in predictors if any(before.get(key) != identity.get(key) for key in keys.split())]
    replaced = tuple(name for keys in changed for name in predictors[keys])
    state: dict[str, Tensor] = {
        name: value for name, value in content["state_dict"].items() if not name.startswith(replaced)
    }
    module.load_state_dict(state, strict=False)
    new = f"; new are {', '.join(replaced)}" if replaced else ""
    log.info("starts from %s%s", path, new)
