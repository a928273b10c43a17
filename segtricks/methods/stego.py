"""STEGO: a map of clusters of each photograph, learned from how alike frozen features are within and across images."""

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from lightning.pytorch.cli import OptimizerCallable
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, normalize
from tqdm import tqdm

from segtricks.backbones import create_backbone
from segtricks.backbones.fingerprint import fingerprint
from segtricks.backbones.registry import last_feature
from segtricks.data.datamodule import spread
from segtricks.data.neighbour_datamodule import NeighbourDataModule
from segtricks.data.neighbours import nearest, read_neighbours, write_neighbours
from segtricks.data.sample import SegmentationDataset
from segtricks.data.transforms import VOID, denormalize, fit_short_side, resize_target, to_input
from segtricks.errors import UserError
from segtricks.heads import ClusterProbe, StegoHead
from segtricks.losses import correspondence_loss, feature_cosines, sample_points
from segtricks.methods.base import PLAIN, SegmentationModule
from segtricks.methods.mapping import mapping_batches
from segtricks.methods.trainable import Trainable
from segtricks.pseudo_labels.label_maps import LabelWriter
from segtricks.refine import dense_crf_labels
from segtricks.runs import write_json
from segtricks.scoring.evaluator import Target
from segtricks.scoring.label_maps import LabelMapEvaluator, LabelMapProtocol, Segmented

_ALIKE = 0.5
log = logging.getLogger(__name__)

PAIRS = ("self", "knn", "rand")
"""What is compared with a photograph: itself, a neighbour, and other photographs of the batch."""

Preset = Literal["measured", "coco_s", "coco_b", "cityscapes_b", "potsdam_s", "own"]

SHARES = (0.5, 0.5, 0.05)
"""Of the pairs of points, in the order of :data:`PAIRS`, whose codes the preset ``measured`` draws together."""

SHIFTS_FILE = "shifts.json"
"""In the run folder: what they are with these features."""

_MEASURED = 64  # photographs, and a neighbour of each


class Correspondence(NamedTuple):
    """Weights and shifts (λ and b in the paper) of the three losses, in the order of :data:`PAIRS`."""

    weights: tuple[float, ...]
    shifts: tuple[float, ...]


PRESETS: dict[Preset, Correspondence] = {
    "measured": Correspondence((0.67, 0.25, 0.63), ()),
    "coco_s": Correspondence((0.67, 0.25, 0.63), (0.08, 0.02, 0.66)),
    "coco_b": Correspondence((0.10, 1.0, 0.154), (0.12, 0.20, 1.0)),
    "cityscapes_b": Correspondence((1.0, 0.577, 0.906), (0.458, 0.175, 0.314)),
    "potsdam_s": Correspondence((0.67, 0.25, 0.63), (0.08, 0.02, 0.46)),
    "own": Correspondence((0.67, 0.25, 0.63), (0.18, 0.12, 0.46)),
}
"""As published: data set and size of the ViT; ``own`` is their advice for other photographs.

The shifts of ``measured`` are found from the features, so that each is exceeded by a share of the pairs of points.
"""


class Stego(Trainable, SegmentationModule):
    """Train a head on frozen features whose codes are alike where the features are, and cluster the codes.

    A photograph is compared with itself, with one of the photographs whose mean features are nearest to its own, and
    with others of the batch. Those neighbours are found before the first step and kept in the run folder, in
    ``neighbours.npz``. Batches are those of :class:`segtricks.data.NeighbourDataModule`. Two probes are trained along
    and teach the head nothing: cluster centres, and with ``linear_probe`` a linear map to the classes of label maps.

    ``predict`` gives a map of cluster ids for each photograph, and ``test`` scores such maps on sets of label maps.

    Args:
        backbone: name of the frozen network (``segtricks.backbones.create_backbone``), whose tokens are read.
        pretrained: load its published weights.
        backbone_checkpoint: a local file with its weights, instead of the download.
        code_dim: channels of the codes.
        dropout: share of the channels that each look at the features leaves out in training.
        num_clusters: clusters of the codes.
        preset: weights and shifts of the losses, measured on the features of the photographs or as published.
        weights: of the losses self, knn and rand; left out, the preset's.
        shifts: cosine of features above which codes are drawn together, in the same order; left out, the preset's.
        points: an image is sampled at the square of this number of points.
        negatives: other photographs each one is compared with in a step.
        pointwise: centre the cosines of features at each point.
        zero_clamp: clamp the cosines of codes at 0 from below.
        stabilize: clamp them at 0.8 from above.
        linear_probe: also train a linear probe, on the label maps of data.masks.
        probe_lr: learning rate of the probes, as a multiple of the head's.
        test_size: short side at which photographs are seen in ``test`` and ``predict``, rounded to whole patches.
        crf: there, refine maps by a dense CRF at that size, which takes many seconds a photograph on a CPU.
        optimizer: any torch optimiser; left out, Adam with lr 5e-4.
        semantic: every choice of the scores on label maps.
        seed: unused, a step draws from torch's own numbers, which a run seeds.

    Source: Hamilton et al., "Unsupervised Semantic Segmentation by Distilling Feature Correspondences", ICLR 2022, and
    its published code. There the mean features of the neighbours are taken with the channel dropout left on; here
    without.
    """

    default_optimizer: ClassVar = {"class_path": "torch.optim.Adam", "init_args": {"lr": 5e-4}}
    training_options: ClassVar = (
        *(*Trainable.training_options, "preset", "weights", "shifts", "points", "negatives", "pointwise"),
        *("zero_clamp", "stabilize", "probe_lr", "dropout"),
    )
    writer_class: ClassVar = LabelWriter

    def __init__(
        self,
        backbone: str = "dino_vitb8",
        pretrained: bool = True,
        backbone_checkpoint: str | None = None,
        code_dim: int = 70,
        dropout: float = 0.1,
        num_clusters: int = 27,
        preset: Preset = "measured",
        weights: list[float] | None = None,
        shifts: list[float] | None = None,
        points: int = 11,
        negatives: int = 5,
        pointwise: bool = True,
        zero_clamp: bool = True,
        stabilize: bool = False,
        linear_probe: bool = False,
        probe_lr: float = 10.0,
        test_size: int = 320,
        crf: bool = False,
        optimizer: OptimizerCallable | None = None,
        semantic: LabelMapProtocol = LabelMapProtocol(),  # noqa: B008 - frozen
        seed: int = 0,
    ) -> None:
        super().__init__()
        numbers = {"code_dim": code_dim, "num_clusters": num_clusters, "points": points, "negatives": negatives}
        for name, value in (numbers | {"test_size": test_size}).items():
            if value < 1:
                raise UserError(f"model.{name} is {value}: pass 1 or more.")
        if not 0 <= dropout < 1 or probe_lr < 0:
            raise UserError(
                "model.dropout must be at least 0 and below 1 and model.probe_lr at least 0, got "
                f"{dropout} and {probe_lr}."
            )
        self.backbone = create_backbone(backbone, pretrained, backbone_checkpoint, last_feature(backbone))
        self.head = StegoHead(self.backbone.feature_dim, code_dim, dropout)
        self.cluster_probe = ClusterProbe(code_dim, num_clusters)
        self.linear_probe = nn.Conv2d(code_dim, semantic.num_classes, 1) if linear_probe else None
        self.target_kind = "labels" if linear_probe else None  # type: ignore[misc]
        self.loss_names = (*PAIRS, "cluster", *(["linear"] if linear_probe else []), "loss")
        chosen = PRESETS[preset]
        self.weights = _three("weights", weights, chosen.weights)
        self.shifts = _three("shifts", shifts, chosen.shifts)
        self.points, self.negatives = points, negatives
        self.variant = {"pointwise": pointwise, "zero_clamp": zero_clamp, "stabilize": stabilize}
        self.probe_lr, self.test_size, self.crf, self.semantic = probe_lr, test_size, crf, semantic
        self.predicted_row = PLAIN
        self._cosines: dict[str, Tensor] = {}
        self.use_optimizer(optimizer)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W), sides multiples of the patch, to codes (B, code_dim, h, w), float32."""
        code: Tensor = self.head(self.backbone(images))
        return code.float()

    def losses(
        self, features: Tensor, near: Tensor, generator: Generator | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """Return the three losses, mean cosines of codes and of features by pair, and the codes (B, code_dim, h, w).

        Args:
            features: (B, D, h, w) of photographs.
            near: the same of a neighbour of each.
            generator: of points and of the order of other photographs; None takes torch's own.
        """
        code, near_code = self.head(torch.cat([features, near])).float().chunk(2)
        features, near = self.head.dropout(features).float(), self.head.dropout(near).float()
        here, there = (self._points(len(features), generator).to(features.device) for _ in range(2))
        own = sample_points(features, here), sample_points(code, here)
        others = {
            "self": [own],
            "knn": [(sample_points(near, there), sample_points(near_code, there))],
            "rand": [],
        }
        for _ in range(self.negatives):
            order = others_of(len(features), generator).to(features.device)
            others["rand"].append((sample_points(features[order], there), sample_points(code[order], there)))
        terms, cosines = {}, {}
        for (pair, several), shift in zip(others.items(), self.shifts, strict=True):
            losses = [correspondence_loss(own[0], one[0], own[1], one[1], shift, **self.variant) for one in several]
            terms[pair] = torch.stack(losses).mean()
            for name, which in (("features", 0), ("codes", 1)):
                means = [_mean_cosine(own[which], one[which]) for one in several]
                cosines[f"{name}_{pair}"] = torch.stack(means).mean()
        return terms, cosines, code

    def _points(self, count: int, generator: Generator | None) -> Tensor:
        return 2 * torch.rand(count, self.points, self.points, 2, generator=generator) - 1

    def probe_losses(self, code: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """Return the losses of the probes, whose gradient does not reach the codes (B, code_dim, h, w).

        Args:
            code: of photographs.
            labels: (B, H, W) classes; those beyond the probe's do not count.
        """
        code = code.detach()
        terms = {"cluster": self.cluster_probe(code).loss}
        if self.linear_probe is not None and labels is not None:
            logits = interpolate(self.linear_probe(code), labels.shape[-2:], mode="bilinear", align_corners=False)
            counted = (labels >= 0) & (labels < self.semantic.num_classes)
            target = labels.masked_fill(~counted, VOID)
            # Not the mean of cross_entropy, which is nan where no pixel counts.
            summed = cross_entropy(logits, target, ignore_index=VOID, reduction="sum")
            terms["linear"] = summed / counted.sum().clamp_min(1)
        return terms

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """Return the sum of all losses, those of the pairs weighted."""
        factors = dict(zip(PAIRS, self.weights, strict=True))
        return torch.stack([factors.get(name, 1.0) * term for name, term in terms.items()]).sum()

    def on_fit_start(self) -> None:
        """Find the neighbours of the training photographs, unless the run folder has them.

        Raises:
            UserError: the data module does not give pairs, or fewer than two photographs can be read.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, NeighbourDataModule):
            raise UserError(
                "STEGO trains on photographs and their neighbours.\n"
                "Next: pass --data segtricks.data.NeighbourDataModule, or start from --config stego."
            )
        folder, key = Path(self.trainer.default_root_dir), data.neighbours_key(fingerprint(self.backbone))
        if self.trainer.is_global_zero and read_neighbours(folder, key) is None:
            write_neighbours(folder, self.find_neighbours(data), key)
        self.trainer.strategy.barrier()
        table = read_neighbours(folder, key)
        assert table is not None
        data.use_neighbours(table)
        if not self.shifts:
            self._use_measured_shifts(folder / SHIFTS_FILE, key, data, table)

    def _use_measured_shifts(self, path: Path, key: str, data: NeighbourDataModule, table: Tensor) -> None:
        if self.trainer.is_global_zero and not _read_shifts(path, key):
            found = [round(shift, 3) for shift in self.find_shifts(data, table)]
            write_json(path, {"key": key, "shifts": dict(zip(PAIRS, found, strict=True))})
            print(f"Shifts of the losses ({', '.join(PAIRS)}): {', '.join(map(str, found))}", flush=True)
        self.trainer.strategy.barrier()
        self.shifts = _read_shifts(path, key)

    @torch.no_grad()
    def find_shifts(self, data: NeighbourDataModule, table: Tensor) -> list[float]:
        """Return what a share :data:`SHARES` of the cosines that the losses compare with a shift is above.

        Measured at random points of up to 64 photographs, each with itself, its nearest neighbour and another one.

        Args:
            data: of the photographs.
            table: of :meth:`find_neighbours`.
        """
        places = [place for place in range(len(table)) if table[place, 0] != place]
        places = [places[i] for i in spread(len(places), _MEASURED)]
        features, near = (self._features_at(data, some) for some in (places, table[places, 0].tolist()))
        generator = Generator().manual_seed(0)
        here, there = (self._points(len(places), generator).to(features.device) for _ in range(2))
        own = sample_points(features, here)
        others = (own, sample_points(near, there), sample_points(features.roll(1, dims=0), there))
        return [
            float(feature_cosines(own, other, self.variant["pointwise"]).flatten().quantile(1 - share))
            for other, share in zip(others, SHARES, strict=True)
        ]

    def _features_at(self, data: NeighbourDataModule, places: Sequence[int]) -> Tensor:
        items = data.middles().dataset
        return torch.cat([self.backbone(to_input(items[i]["image"][None]).to(self.device)).float() for i in places])

    @torch.no_grad()
    def find_neighbours(self, data: NeighbourDataModule) -> Tensor:
        """Return the places (N, k) of the training photographs whose mean features are nearest, by their cosine.

        A photograph that cannot be read is a neighbour of none, and has itself for neighbours.

        Raises:
            UserError: fewer than two can be read.
        """
        vectors, places = [], []
        for batch in tqdm(data.middles(), desc="neighbours", unit=" batches", disable=None, leave=False):
            images = data.on_after_batch_transfer(batch, 0)["image"]
            if not len(images):
                continue
            with self.trainer.precision_plugin.forward_context():
                features = self.backbone(images.to(self.device))
            vectors.append(features.float().mean(dim=(2, 3)))
            places += batch["place"]
        if len(places) < 2:
            raise UserError(
                f"Only {len(places)} of the training photographs can be read, and a photograph needs a neighbour.\n"
                "Next: segtricks data verify PHOTOS --fix-list good.txt"
            )
        known = torch.tensor(places)
        found = known[nearest(torch.cat(vectors), data.neighbours).cpu()]
        table = torch.arange(len(data.train_dataset))[:, None].repeat(1, found.shape[1])
        table[known] = found
        return table

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """Return the objective of a batch of photographs and their neighbours."""
        count = len(batch["path"])
        if count < 2:
            if count and not batch["skipped"]:
                raise UserError("STEGO compares photographs of a batch: pass --data.batch_size 2 or more.")
            return self.no_loss()
        features, near = self.backbone(batch["image"]).chunk(2)
        terms, cosines, code = self.losses(features, near)
        terms |= self.probe_losses(code, batch.get("target"))
        loss = self.total(terms)
        self.log_step(loss, terms | cosines, batch["path"])
        self._cosines = cosines
        return loss

    def on_train_end(self) -> None:
        """Warn where the codes of different photographs have become alike."""
        found = {name: round(float(value), 2) for name, value in self._cosines.items()}
        if found and found["codes_rand"] > _ALIKE:
            log.warning(
                "The codes of different photographs are alike: their mean cosine is %g, and should be near 0.\n"
                "Next: train again with a larger last one of --model.shifts; it is %g, and that of the features is %g.",
                *(found["codes_rand"], self.shifts[2], found["features_rand"]),
            )

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the losses on held-out photographs, whose neighbour is the most alike one of the same batch."""
        images = batch["image"]
        if len(images) == 0:
            self.log_held_out({}, 0)
            return
        features = self.backbone(images)
        near = features
        if len(images) > 1:
            near = features[nearest(features.float().mean(dim=(2, 3)), 1)[:, 0]]
        terms, _, code = self.losses(features, near, Generator().manual_seed(batch_idx))
        terms |= self.probe_losses(code, batch.get("target"))
        self.log_held_out(terms | {"loss": self.total(terms)}, len(images))

    def segment(self, photo: Tensor, size: tuple[int, int]) -> Segmented:
        """Return the maps of a photograph uint8 (3, H, W) at a ``size``, on the CPU; uint8, or int32 above 256 ids.

        Codes are the mean of the photograph's and its mirror image's.
        """
        image = to_input(fit_short_side(photo, self.test_size, self.backbone.patch_size).to(self.device))
        code, mirrored = self(torch.stack([image, image.flip(-1)]))
        code = ((code + mirrored.flip(-1)) / 2)[None]
        with torch.autocast(self.device.type, enabled=False):  # bfloat16 does not tell centres apart
            return self._segment_by_crf(code, image, size) if self.crf else self._segment_by_cosine(code, size)

    def _segment_by_cosine(self, code: Tensor, size: tuple[int, int]) -> Segmented:
        # Cosines with the centres, but for the length of the code, which is the same for all.
        alike = torch.einsum("bchw,kc->bkhw", code, normalize(self.cluster_probe.clusters, dim=1))[0]
        classes = None if self.linear_probe is None else largest_of(self.linear_probe(code)[0], size)
        return Segmented(largest_of(alike, size), classes)

    def _segment_by_crf(self, code: Tensor, image: Tensor, size: tuple[int, int]) -> Segmented:
        code = interpolate(code, image.shape[-2:], mode="bilinear", align_corners=False)
        likely = [self.cluster_probe.log_probabilities(code)[0]]
        if self.linear_probe is not None:
            likely.append(self.linear_probe(code)[0].log_softmax(dim=0))
        bgr = denormalize(image).flip(0)  # as published: another order of the colours gives another lattice
        maps = [dense_crf_labels(each, bgr) for each in likely]
        kind = torch.uint8 if max(map(len, likely)) <= 256 else torch.int32
        clusters, *classes = (resize_target(each.to("cpu", kind), *size) for each in maps)
        return Segmented(clusters, classes[0] if classes else None)  # type: ignore[arg-type]

    @torch.no_grad()
    def predict_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> list[Tensor]:
        """Return a map (H, W) of cluster ids per photograph, at its own size."""
        photos = (batch["photo"][i] for i in range(len(batch["photo"])))
        return [self.segment(photo, (photo.shape[-2], photo.shape[-1])).clusters for photo in photos]

    def _mask_of(self, photo: Tensor) -> NDArray[Any]:
        raise UserError(
            "Stego has maps of clusters, not masks.\nNext: call prediction_of(segtricks.data.read_image(PATH))."
        )

    def make_evaluator(self, dataset: SegmentationDataset, name: str) -> LabelMapEvaluator:
        """Return what scores a test set.

        Raises:
            UserError: it has no label maps.
        """
        if dataset.target_kind != "labels":
            raise UserError(
                f"{name} has no label maps to compare clusters with.\n"
                "Next: pass voc12-val, or photographs with --data.labels FOLDER."
            )
        # A probe has the classes that it was trained on.
        protocol = self.semantic if self.linear_probe is not None else self.semantic.of_classes(dataset.classes)
        mapping_set = self.trainer.datamodule.mapping  # type: ignore[attr-defined]
        return LabelMapEvaluator(name, protocol, len(self.cluster_probe.clusters), PLAIN, mapping_set=mapping_set)

    @torch.no_grad()
    def test_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> dict[str, list[Tensor]]:
        """Score a batch; return the maps at the photographs' own sizes, in gray."""
        evaluator = self._evaluators[dataloader_idx]
        for path, reason in batch["skipped"]:
            evaluator.skip(path, reason)
        maps = []
        for target, found in self._segmented(batch):
            evaluator.add(target, {PLAIN: found})
            maps.append(found.clusters[None].float() / max(1, len(self.cluster_probe.clusters) - 1))
        return {PLAIN: maps}

    def _segmented(self, batch: dict[str, Any]) -> Iterator[tuple[Target, Segmented]]:
        """What is true and what is predicted of each photograph, cut as the protocol says."""
        for photo, labels, path in zip(batch["photo"], batch["labels"], batch["path"], strict=True):
            labels = self.semantic.cut(labels)
            found = self.segment(self.semantic.cut(photo), (labels.shape[-2], labels.shape[-1]))
            yield Target(path, labels=labels), found

    @torch.no_grad()
    def on_test_epoch_end(self) -> None:
        """Look at the images of ``data.mapping``, and compute the figures of every test set."""
        for batch in mapping_batches(self):
            for target, found in self._segmented(batch):
                for evaluator in self._evaluators:
                    assert isinstance(evaluator, LabelMapEvaluator)
                    evaluator.add_to_mapping(target, {PLAIN: found})
        super().on_test_epoch_end()

    def trained_parameters(self) -> Iterator[Any]:
        """Yield the parameters of the head, and those of the probes with the factor of their learning rate."""
        yield {"params": list(self.head.parameters())}
        probes = [probe for probe in (self.cluster_probe, self.linear_probe) if probe is not None]
        yield {"params": [part for probe in probes for part in probe.parameters()], "lr_factor": self.probe_lr}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser."""
        return self.new_optimizer()

    def identity(self) -> dict[str, Any]:
        """Return what a checkpoint must share with this module to be loaded."""
        clusters, code_dim = self.cluster_probe.clusters.shape
        own: dict[str, Any] = {"code_dim": code_dim, "num_clusters": clusters, "patch_size": self.backbone.patch_size}
        if self.linear_probe is not None:
            own["num_classes"] = self.linear_probe.out_channels
        return super().identity() | own

    def why_one_sided(self) -> str:
        """Return why many photographs are of a single cluster, and what to type next."""
        return (
            "Here these are photographs of a single cluster. Likely training was short, or its shifts do not fit these "
            "photographs: see train/codes_self, codes_knn and codes_rand in metrics.csv.\n"
            "Next: train longer, or with other --model.shifts."
        )


def _read_shifts(path: Path, key: str) -> tuple[float, ...]:
    """The shifts of a run; none where they are not there, or belong to other photographs or features."""
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return tuple(content["shifts"].values()) if content.get("key") == key else ()


def others_of(count: int, generator: Generator | None = None) -> Tensor:
    """Return another place for each of ``count``, (count,): a permutation whose fixed points are moved on by one.

    So some places may occur twice, as in the published code; of a single one it is its own.
    """
    order = torch.randperm(count, generator=generator)
    return (order + (order == torch.arange(count)).long()) % count


def largest_of(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return which of (K, h, w), enlarged bilinearly, is largest at each pixel: ``size`` (H, W), on the CPU.

    One plane is enlarged at a time: all of a large photograph would take gigabytes.
    """
    best = torch.full(size, -torch.inf, device=planes.device)
    found = torch.zeros(size, dtype=torch.uint8 if len(planes) <= 256 else torch.int32, device=planes.device)
    for place, plane in enumerate(planes):
        large = interpolate(plane[None, None], size, mode="bilinear", align_corners=False)[0, 0]
        found[large > best] = place
        best = torch.maximum(best, large)
    return found.cpu()


@torch.no_grad()
def _mean_cosine(maps: Tensor, others: Tensor) -> Tensor:
    """Mean cosine of all pairs of points of (B, C, n, m) and (B, C, n', m')."""
    first, second = (normalize(each.flatten(2), dim=1).mean(dim=2) for each in (maps, others))
    return (first * second).sum(dim=1).mean()


def _three(name: str, given: list[float] | None, preset: tuple[float, ...]) -> tuple[float, ...]:
    if given is None:
        return preset
    if len(given) != len(PAIRS):
        text = ", ".join(map(str, preset))
        raise UserError(f"model.{name} is {given}: it takes three numbers, for example --model.{name} '[{text}]'.")
    return tuple(given)
