"""``segtricks fit --rounds N``: self-training, where each round learns the masks that the one before predicts."""

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from segtricks.commands.fit import UNTIL
from segtricks.commands.lightning_cli import SegtricksCLI, quiet
from segtricks.commands.options import config_name, config_words
from segtricks.commands.stages import list_photographs, run_stage
from segtricks.data import SaliencyDataModule
from segtricks.errors import UserError
from segtricks.metrics.measures import HEADLINES, title
from segtricks.parallel import place
from segtricks.pseudo_labels import Store
from segtricks.pseudo_labels.agreement import store_agreement
from segtricks.reports.tables import figure, text_table
from segtricks.runs import RUNS, hold_run, new_run, write_csv, write_json
from segtricks.scoring.results import read_results, result_files

_PLAN = "rounds.json"
_MAIN = ("iou", "corloc")  # of the scores, what the table shows; the file has all


@dataclass(frozen=True)
class RoundsPlan:
    """What was asked for.

    Args:
        words: options of each round's training, ``--config`` included.
        rounds: at most so many.
        until: agreement with the masks of before at which the rounds end.
    """

    words: list[str]
    rounds: int
    until: float


@dataclass
class Round:
    """One training and the masks that it predicts.

    Args:
        number: from 1.
        run: its folder.
        taught_by: the masks that it learns.
        agreement: mean IoU of its masks with those.
        counts: photographs with an empty and with a full mask.
        scores: figures on the test sets, where there are any.
    """

    number: int
    run: Path
    taught_by: Path
    agreement: float = float("nan")
    counts: dict[str, int] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def masks(self) -> Path:
        """What it predicts of the training photographs."""
        return self.run / "masks"

    def as_row(self) -> dict[str, Any]:
        """Return its line of the table."""
        return {"round": self.number, "agreement": self.agreement, **self.counts, **self.scores, "run": str(self.run)}


def is_in_rounds(name: str | None) -> bool:
    """Tell whether a run of this name is one of several rounds."""
    return name is not None and (RUNS / name / _PLAN).is_file()


def train_in_rounds(options: Namespace, configs: Sequence[str], words: Sequence[str]) -> None:
    """Train, predict the training photographs, and train on those masks, until they hardly change.

    The folder gets a run ``round-1``, ``round-2`` … each. Finished parts are kept: ``--resume --name NAME`` goes on.

    Args:
        options: ``name``, ``resume``, ``rounds`` and ``until`` of ``fit``.
        configs: of each round's training; none to go on.
        words: its other options.

    Raises:
        UserError: the method does not learn masks, or a part failed.
        Stopped: by Ctrl-C.
    """
    if place()[1] > 1:
        raise UserError(
            "Rounds start their processes themselves: run this without a launcher, with --trainer.devices N."
        )
    home, plan = _begin(options, configs, words)
    data = _inspect(plan)
    photographs = list_photographs(data, home)
    with hold_run(home):
        write_json(home / _PLAN, asdict(plan))
        _train(plan, home, Path(str(data.masks)), photographs)


def _begin(options: Namespace, configs: Sequence[str], words: Sequence[str]) -> tuple[Path, RoundsPlan]:
    """The folder, and what to do in it."""
    if options.resume and is_in_rounds(options.name):
        home = RUNS / options.name
        before = RoundsPlan(**json.loads((home / _PLAN).read_text(encoding="utf-8")))
        again = [*config_words(configs), *words] if configs else [*before.words, *words]
        return home, RoundsPlan(again, options.rounds or before.rounds, options.until or before.until)
    if not configs:
        raise UserError("fit --rounds needs a config, such as --config selfmask.")
    home = new_run(options.name, config_name(configs[-1]))
    return home, RoundsPlan([*config_words(configs), *words], options.rounds, options.until or UNTIL)


def _inspect(plan: RoundsPlan) -> SaliencyDataModule:
    """The photographs to train on and the masks to begin with; nothing is trained."""
    quiet()
    cli = SegtricksCLI(plan.words)
    if cli.model.target_kind != "mask":
        raise UserError(
            f"--rounds is for methods that learn masks, such as --config selfmask; {type(cli.model).__name__} does not."
        )
    data = cli.datamodule
    if not isinstance(data, SaliencyDataModule):
        raise UserError(f"--rounds needs a segtricks.data.SaliencyDataModule, and {type(data).__name__} is not one.")
    cli.ask_for_targets()
    if cli.config.test == "none":
        data.test = []
    data.check()
    return data


def _train(plan: RoundsPlan, home: Path, masks: Path, photographs: list[Path]) -> None:
    rounds: list[Round] = []
    reason = f"Round {plan.rounds} was the last one asked for (--rounds)"
    for number in range(1, plan.rounds + 1):
        now = Round(number, home / f"round-{number}", masks)
        print(f"Round {number} of at most {plan.rounds} learns the masks in {masks}.", flush=True)
        _fit(now, plan, home)
        _predict(now, home)
        _measure(now, photographs)
        rounds.append(now)
        write_csv(home / "rounds.csv", [each.as_row() for each in rounds])
        if sum(now.counts.values()) > len(photographs) / 2:
            raise UserError(
                f"Most masks of round {number} are empty or full ({now.counts}): there is nothing to learn from.\n"
                f"Next: look at {now.masks}, then train longer, with another --model.optimizer.lr, or on other masks."
            )
        if stop := why_to_stop([each.agreement for each in rounds], plan.until):
            reason = stop
            break
        masks = now.masks
    drifted = _drifts([each.agreement for each in rounds])
    best = rounds[-2] if drifted else rounds[-1]
    print(f"\n{_table(rounds)}\n\n{reason}; the table is in {home / 'rounds.csv'}.")
    print(f"Next: segtricks predict --run {best.run} --images PHOTOS --output MASKS")


def why_to_stop(agreements: Sequence[float], until: float) -> str | None:
    """Return why no further round is wanted, given the agreement of each with the masks that it learned; else None."""
    if agreements[-1] >= until:
        return f"Round {len(agreements)} changed the masks by less than {1 - until:.0%} (--until {until:g})"
    if _drifts(agreements):
        return f"Round {len(agreements)} changed the masks more than the one before, so they drift; take that one"
    return None


def _drifts(agreements: Sequence[float]) -> bool:
    return len(agreements) > 1 and agreements[-1] < agreements[-2]


def _fit(now: Round, plan: RoundsPlan, home: Path) -> None:
    name = now.run.relative_to(RUNS).as_posix()
    resume = ["--resume"] if (now.run / "config.yaml").is_file() else []
    words = ["fit", *plan.words, "--data.masks", str(now.taught_by), "--name", name, *resume]
    run_stage(home, f"fit-{now.number}", words)


def _predict(now: Round, home: Path) -> None:
    photographs = str(home / "photographs.txt")
    words = ["predict", "--run", str(now.run), "--images", photographs, "--output", str(now.masks)]
    run_stage(home, f"predict-{now.number}", words)


def _measure(now: Round, photographs: Sequence[Path]) -> None:
    store = Store.open(now.masks)
    now.agreement = store_agreement(Store.open(now.taught_by), store, photographs)
    now.counts = {kind: len(store.index.get(kind, ())) for kind in ("empty", "full")}
    if not result_files(now.run):
        return
    for result in read_results(now.run):
        measured = {key: result.metrics[key] for key in HEADLINES if key in result.metrics}
        now.scores |= {f"{result.dataset} {result.row} {title(key)}": value for key, value in measured.items()}


def _table(rounds: Sequence[Round]) -> str:
    rows = [each.as_row() for each in rounds]
    main = tuple(title(key) for key in _MAIN)
    scores = [key for key in rounds[0].scores if not key.endswith(main)]  # the table is wide enough without them
    header = [key for key in rows[0] if key not in scores]
    return text_table(header, [_cells(row, header) for row in rows])


def _cells(row: Mapping[str, Any], header: Sequence[str]) -> list[str]:
    values = [row.get(key, float("nan")) for key in header]
    return [figure(value) if isinstance(value, float) else str(value) for value in values]
