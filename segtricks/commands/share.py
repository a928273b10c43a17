"""``segtricks share``: a run's head, options and model card to the Hugging Face Hub."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from segtricks.commands.options import OptionParser
from segtricks.errors import UserError
from segtricks.training.hub_runs import (
    CARD,
    CONFIG,
    WEIGHTS,
    Address,
    answer,
    explained,
    find_run,
    parse_address,
    portable,
)

USAGE = "runs/NAME --to OWNER/NAME [--private] [--license LICENSE] [--ckpt_path FILE] [--dry_run FOLDER]"


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    options = _parser().parse_args(list(words))
    address = parse_address(options.to)
    if address.revision is not None:
        raise UserError(f"--to {options.to} names a revision: leave out @{address.revision}, a new one is made.")
    if options.dry_run is None:
        _check_token()
    else:
        _check_free(Path(options.dry_run))
    # Later than the options: Lightning takes seconds.
    from segtricks.commands.run_loading import load_run
    from segtricks.reports.model_card import model_card
    from segtricks.scoring.results import read_config
    from segtricks.training.head_files import write_head

    run = find_run(options.run)
    config = portable(read_config(run))
    module = load_run(run, options.ckpt_path)
    card = model_card(run, module, str(address), options.license)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.dry_run or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        write_head(module, folder / WEIGHTS)
        (folder / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        (folder / CARD).write_text(card, encoding="utf-8")
        if options.dry_run is not None:
            print(f"Written to {folder}, not uploaded: {WEIGHTS}, {CONFIG}, {CARD}")
            return
        _upload(folder, address, options.private)
    print(f"Next: segtricks predict --run {address} --images PHOTOS --output MASKS")


def _parser() -> OptionParser:
    parser = OptionParser("share", USAGE)
    add = parser.add_argument
    add("run", metavar="runs/NAME", help="the run; it is shared without photographs, paths, logs or a frozen backbone")
    add("--to", required=True, metavar="OWNER/NAME", help="repository on the hub, made if it is not there")
    add("--private", action="store_true", help="for a new repository: only you can read it")
    add(
        "--license",
        help="of what was trained, in the hub's spelling, such as apache-2.0; without it the card names none",
    )
    add("--ckpt_path", metavar="FILE", help="another checkpoint than the best")
    add("--dry_run", metavar="FOLDER", help="write the three files there and upload nothing")
    return parser


def _check_token() -> None:
    from huggingface_hub import get_token

    if get_token() is None:
        raise UserError(
            "Sharing needs a token of the Hugging Face Hub that may write.\n"
            "Next: make one at https://huggingface.co/settings/tokens; then `hf auth login`, or set HF_TOKEN."
        )


def _check_free(folder: Path) -> None:
    there = [name for name in (WEIGHTS, CONFIG, CARD) if (folder / name).exists()]
    if there:
        raise UserError(
            f"--dry_run {folder} holds {', '.join(there)} already, which is not overwritten.\n"
            "Next: pass a new folder, such as --dry_run share."
        )


def _upload(folder: Path, address: Address, private: bool) -> None:
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    files = [CommitOperationAdd(name, folder / name) for name in (WEIGHTS, CONFIG, CARD)]
    with explained(address):
        answer(lambda: api.whoami())
        api.create_repo(address.repository, private=private, exist_ok=True)
        commit = api.create_commit(address.repository, files, commit_message="Share a run of segtricks")
    size = sum((folder / name).stat().st_size for name in (WEIGHTS, CONFIG, CARD))
    print(f"{address}: {size / 1e6:.1f} MB in {WEIGHTS}, {CONFIG} and {CARD}, revision {commit.oid}")
