"""``segtricks fit --rounds N``: self-training, where each round learns what the one before predicts."""

import json
import shlex
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from segtricks.commands.fit import SCORES, UNTIL
from segtricks.commands.lightning_cli import SegtricksCLI, quiet
from segtricks.commands.options import config_name, config_words
from segtricks.commands.stages import finished_words, list_photographs, run_stage, training_photographs
from segtricks.data import SaliencyDataModule
from segtricks.errors import UserError
from segtricks.metrics.measures import HEADLINES, title
from segtricks.parallel import place
from segtricks.pseudo_labels import Store
from segtricks.pseudo_labels.agreement import store_agreement
from segtricks.pseudo_labels.next_labels import write_next_labels
from segtricks.reports.tables import figure, text_table
from segtricks.runs import RUNS, hold_run, new_run, write_csv, write_json
from segtricks.scoring.object_floors import FLOORS
from segtricks.scoring.results import read_results, result_files

_PLAN = "rounds.json"
_MAIN = ("iou", "corloc", "mask_ap50", "pq")  # of the scores, what the table shows; the file has all


@dataclass(frozen=True)
class RoundsPlan:
    """What was asked for.

    Args:
        words: options of each round's training, ``--config`` included.
        rounds: at most so many.
        until: agreement with the masks of before at which the rounds end.
        keep: score of a detection that the next round learns; None is CutLER's.
    """

    words: list[str]
    rounds: int
    until: float
    keep: float | None = None

    def min_score(self, number: int) -> float:
        """Return the score after a round from 1."""
        return self.keep or SCORES[min(number, len(SCORES)) - 1]


@dataclass
class Round:
    """One training and what the next one learns.

    Args:
        number: from 1.
        run: its folder.
        taught_by: the labels that it learns; None while the first one has still to make them.
        instances: whether these are objects with scores, of which the best are learned; else all masks are.
        agreement: mean IoU of the labels of the next round with those.
        counts: of masks, photographs with an empty and with a full one; of objects, those found and those of before.
        scores: figures on the test sets, where there are any.
    """

    number: int
    run: Path
    taught_by: Path | None
    instances: bool = False
    agreement: float = float("nan")
    counts: dict[str, int] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def masks(self) -> Path:
        """What it predicts of the training photographs; ``masks`` of U2Seg's first round are what it learned."""
        return self.run / ("detections" if self.instances else "masks")

    @property
    def next_labels(self) -> Path:
        """What the next round learns."""
        return self.run / "next_labels" if self.instances else self.masks

    @property
    def is_useless(self) -> bool:
        """Whether none of its detections are good enough to be learned."""
        return self.instances and not self.counts["found"]

    def as_row(self) -> dict[str, Any]:
        """Return its line of the table."""
        return {"round": self.number, "agreement": self.agreement, **self.counts, **self.scores, "run": str(self.run)}


def is_in_rounds(name: str | None) -> bool:
    """Tell whether a run of this name is one of several rounds."""
    return name is not None and (RUNS / name / _PLAN).is_file()


def train_in_rounds(options: Namespace, configs: Sequence[str], words: Sequence[str]) -> None:
    """Train, predict the training photographs, and train on what was found, until that hardly changes.

    The folder gets a run ``round-1``, ``round-2`` … each. Finished parts are kept: ``--resume --name NAME`` goes on.

    Args:
        options: ``name``, ``resume``, ``rounds``, ``until`` and ``keep`` of ``fit``.
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
    cli = _inspect(plan)
    data: SaliencyDataModule = cli.datamodule
    photographs = training_photographs(data)
    first = Round(1, home / "round-1", Path(data.masks) if data.masks else None, cli.model.target_kind == "panoptic")
    home.mkdir(parents=True, exist_ok=True)
    with hold_run(home):
        write_json(home / _PLAN, asdict(plan))
        list_photographs(photographs, home)
        _train(plan, home, first, photographs)


def _begin(options: Namespace, configs: Sequence[str], words: Sequence[str]) -> tuple[Path, RoundsPlan]:
    """The folder, and what to do in it."""
    if options.resume and is_in_rounds(options.name):
        home = RUNS / options.name
        before = RoundsPlan(**json.loads((home / _PLAN).read_text(encoding="utf-8")))
        again = [*config_words(configs), *words] if configs else [*before.words, *words]
        rounds, until = options.rounds or before.rounds, options.until or before.until
        return home, RoundsPlan(again, rounds, until, options.keep or before.keep)
    if not configs:
        raise UserError("fit --rounds needs a config, such as --config selfmask.")
    home = new_run(options.name, config_name(configs[-1]))
    return home, RoundsPlan([*config_words(configs), *words], options.rounds, options.until or UNTIL, options.keep)


def _inspect(plan: RoundsPlan) -> SegtricksCLI:
    """The photographs to train on and the masks to begin with; nothing is trained."""
    quiet()
    cli = SegtricksCLI(plan.words)
    if cli.model.target_kind not in ("mask", "panoptic"):
        raise UserError(
            "--rounds is for methods that learn masks, such as --config selfmask or u2seg; "
            f"{type(cli.model).__name__} does not."
        )
    data = cli.datamodule
    if not isinstance(data, SaliencyDataModule):
        raise UserError(f"--rounds needs a segtricks.data.SaliencyDataModule, and {type(data).__name__} is not one.")
    if cli.model.target_kind == "mask":  # others may have to make them first
        cli.ask_for_targets()
    if cli.config.test == "none":
        data.test = []
    data.check()
    return cli


def _train(plan: RoundsPlan, home: Path, now: Round, photographs: list[Path]) -> None:
    rounds: list[Round] = []
    reason = f"Round {plan.rounds} was the last one asked for (--rounds)"
    while len(rounds) < plan.rounds:
        print(f"Round {now.number} of at most {plan.rounds} learns {now.taught_by or 'new pseudo-labels'}.", flush=True)
        _fit(now, plan, home)
        _predict(now, home)
        _measure(now, plan, photographs)
        rounds.append(now)
        write_csv(home / "rounds.csv", [each.as_row() for each in rounds])
        _check_counts(now, len(photographs))
        if stop := why_to_stop([each.agreement for each in rounds], plan.until):
            reason = stop
        if now.is_useless:
            reason = f"No detection of round {now.number} has a score of {plan.min_score(now.number):g} (--keep)"
        if stop or now.is_useless:
            break
        number = now.number + 1
        now = Round(number, home / f"round-{number}", now.next_labels, now.instances)
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
    words = ["fit", *plan.words]
    words += [] if now.taught_by is None else ["--data.masks", str(now.taught_by)]
    words += ["--name", name]
    if now.instances and now.number > 1:
        words += ["--model.from_run", str(home / f"round-{now.number - 1}"), "--model.drop_loss", "false"]
    stage = f"fit-{now.number}"
    before = finished_words(home, stage)
    if before is not None and (changes := _changes(shlex.split(before), words)):
        print(
            f"segtricks: warning: round {now.number} is kept as it was trained, without {'; '.join(changes)}.\n"
            "Next, to train it with that: the same command with another --name.",
            flush=True,
        )
    run_stage(home, stage, [*words, *(["--resume"] if (now.run / "config.yaml").is_file() else [])])
    if now.taught_by is None:
        config = yaml.safe_load((now.run / "config.yaml").read_text(encoding="utf-8"))
        now.taught_by = Path(config["data"]["init_args"]["masks"])


def _changes(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """The options of a command that differ, in words; whether it resumes is none."""
    old, new = _options_of(before), _options_of(now)
    names = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name) and name != "--resume"]
    return [f"{name} {new.get(name, 'left out')} (it was {old.get(name, 'left out')})" for name in names]


def _options_of(words: Sequence[str]) -> dict[str, str]:
    """The last value of each option."""
    found: dict[str, str] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, _, value = word.partition("=")
            found[name] = value
        elif name:
            found[name] = f"{found[name]} {word}".strip()
    return found


def _predict(now: Round, home: Path) -> None:
    photographs = str(home / "photographs.txt")
    words = ["predict", "--run", str(now.run), "--images", photographs, "--output", str(now.masks)]
    run_stage(home, f"predict-{now.number}", words)


def _measure(now: Round, plan: RoundsPlan, photographs: Sequence[Path]) -> None:
    assert now.taught_by is not None
    before, store = Store.open(now.taught_by), Store.open(now.masks)
    if now.instances:
        now.counts = _count_objects(now, before, store, photographs, plan.min_score(now.number))
    else:
        now.counts = {kind: len(store.index.get(kind, ())) for kind in ("empty", "full")}
    now.agreement = store_agreement(before, Store.open(now.next_labels), photographs)
    if not result_files(now.run):
        return
    for result in read_results(now.run):
        if result.row not in FLOORS:
            measured = {key: result.metrics[key] for key in HEADLINES if key in result.metrics}
            now.scores |= {f"{result.dataset} {result.row} {title(key)}": value for key, value in measured.items()}


def _count_objects(
    now: Round, before: Store, found: Store, photographs: Sequence[Path], min_score: float
) -> dict[str, int]:
    """Write what the next round learns, unless that is there, and count its objects."""
    path = now.next_labels / "index.json"
    if path.is_file():
        index = json.loads(path.read_text(encoding="utf-8"))
    else:
        index = write_next_labels(before, found, photographs, now.next_labels, min_score)
    if index["min_score"] != min_score:
        print(
            f"segtricks: warning: {now.next_labels} is kept as it is, with the score {index['min_score']:g} in place "
            f"of {min_score:g}.\nNext, for another one: the same command with another --name.",
            flush=True,
        )
    return {kind: index[kind] for kind in ("found", "earlier")}


def _check_counts(now: Round, photographs: int) -> None:
    if not now.instances and sum(now.counts.values()) > photographs / 2:
        raise UserError(
            f"Most masks of round {now.number} are empty or full ({now.counts}): there is nothing to learn from.\n"
            f"Next: look at {now.masks}, then train longer, with another --model.optimizer.lr, or on other masks."
        )


def _table(rounds: Sequence[Round]) -> str:
    rows = [each.as_row() for each in rounds]
    main = tuple(title(key) for key in _MAIN)
    scores = [key for key in rounds[0].scores if not key.endswith(main)]  # the table is wide enough without them
    header = [key for key in rows[0] if key not in scores]
    return text_table(header, [_cells(row, header) for row in rows])


def _cells(row: Mapping[str, Any], header: Sequence[str]) -> list[str]:
    values = [row.get(key, float("nan")) for key in header]
    return [figure(value) if isinstance(value, float) else str(value) for value in values]
