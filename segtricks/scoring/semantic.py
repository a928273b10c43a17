"""Semantic segmentation without training on labels, from one vector an image."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from segtricks.discovery import pool_regions
from segtricks.errors import UserError
from segtricks.metrics.retrieval import most_frequent
from segtricks.metrics.semantic import label_counts
from segtricks.scoring.evaluation import Evaluation, Score
from segtricks.scoring.evaluator import Target, Verdict, gathered
from segtricks.scoring.semantic_figures import Clustered, Region, Regions, kmeans_scores, retrieval_scores
from segtricks.scoring.semantic_protocol import SemanticProtocol

_VOID = 255


class Embedded(NamedTuple):
    """What is predicted for one image.

    Args:
        features: (D, h, w), raw.
        saliency: (H, W) or (1, H, W) logits of the foreground, or its mask as bool. Features are enlarged to its size;
            logits weigh the pixels of the foreground.
    """

    features: Tensor
    saliency: Tensor


class SemanticEvaluator:
    """Score vectors of foregrounds against label maps, in rows such as trained and untrained features in equal masks.

    ``result`` has for each row, means over the seeds of the protocol:

    * ``kmeans_miou`` and ``kmeans_accuracy`` of clusters matched one to one, ``kmeans_miou_std`` over the seeds;
    * ``overclustering_miou`` where each of more clusters takes its best class, which is an upper bound, and
      ``overclustering_miou_matched`` where the match is one to one and pixels of the clusters left over are wrong;
    * ``retrieval_miou``, and ``retrieval_7_miou`` over the classes of the protocol, if a bank was added.

    As published, a class that is absent from the targets counts 0; the strict figures, whose names end in
    ``_present``, leave it out. Of an image its vector and its pixels by class are kept, and no map.

    Args:
        dataset: its name in the result.
        protocol: every choice that changes a number.
        rows: names of the rows.
        images: how many there will be, where that is known.

    Raises:
        UserError: fewer images than clusters.
    """

    def __init__(
        self,
        dataset: str,
        protocol: SemanticProtocol | None = None,
        rows: Sequence[str] = ("mask",),
        images: int | None = None,
    ) -> None:
        self.dataset, self.protocol = dataset, protocol or SemanticProtocol()
        if images is not None:
            self.protocol.check_images(images)
        self._scored: dict[str, Regions] = {row: Regions() for row in rows}
        self._bank: dict[str, Regions] = {row: Regions() for row in rows}
        self.skipped: list[tuple[str, str]] = []
        """Path and reason, in this process."""
        self.left_out: dict[str, list[tuple[str, str]]] = {}
        """By option of the data, the same of sets that are not scored, in all processes."""

    def add(self, target: Target, predictions: Mapping[str, Embedded]) -> dict[str, Verdict]:
        """Add an image that is scored; figures exist only of all together.

        Raises:
            UserError: a class that the protocol does not have.
        """
        self._keep(self._scored, target, predictions)
        return {row: Verdict() for row in predictions}

    def add_to_bank(self, target: Target, predictions: Mapping[str, Embedded]) -> None:
        """Add an image of another split, whose label retrieval may take."""
        self._keep(self._bank, target, predictions)

    def skip(self, path: str, reason: str) -> None:
        """Note an image that is not scored."""
        self.skipped.append((path, reason))

    def result(self) -> Evaluation:
        """Return the figures of every row, over the images of all processes; a ``UserError`` where they are too few."""
        rows = {row: self._score(row) for row in self._scored}
        return Evaluation(self.dataset, self.protocol, rows, gathered(self.skipped), dict(self.left_out))

    def _keep(self, kept: dict[str, Regions], target: Target, predictions: Mapping[str, Embedded]) -> None:
        if target.labels is None:
            raise ValueError(f"{target.name} has no labels")
        self._check_classes(target.name, target.labels)
        for row, prediction in predictions.items():
            kept[row].append(self._region(target.name, _flat(target.labels), prediction))

    def _check_classes(self, name: str, labels: Tensor) -> None:
        classes = labels[labels != _VOID]
        highest, allowed = int(classes.max()) if len(classes) else 0, self.protocol.num_classes
        if highest >= allowed:
            raise UserError(
                f"{name} has the class {highest}, and of {allowed} classes the last one is {allowed - 1}.\n"
                f"Next: pass --model.semantic.num_classes {highest + 1} or more."
            )

    def _region(self, name: str, labels: Tensor, prediction: Embedded) -> Region:
        saliency = _flat(prediction.saliency)
        foreground = saliency if saliency.dtype == torch.bool else saliency > self.protocol.foreground
        weights = torch.where(foreground, saliency.float(), 0.0)
        vector = pool_regions(prediction.features.float(), weights[None])[0].cpu()
        labels = labels.to(foreground.device)
        counts = self._counts(_nearest(foreground, labels.shape), labels)
        return Region(name, vector, counts, self._counts(foreground, _nearest(labels, foreground.shape)))

    def _counts(self, foreground: Tensor, labels: Tensor) -> Tensor:
        counted = labels != _VOID
        return label_counts(foreground[counted], labels[counted], 2, self.protocol.num_classes).cpu()

    def _score(self, row: str) -> Score:
        # Sorted, so that k-means sees the same order whatever the number of processes.
        regions = sorted(gathered(list(self._scored[row])), key=lambda region: region.name)
        bank = sorted(gathered(list(self._bank[row])), key=lambda region: region.name)
        score = Score(self.dataset, row, len(regions))
        self._add_kmeans(score, regions)
        if self.protocol.overclusters is not None:
            self._add_overclustering(score, regions, self.protocol.overclusters)
        self._add_retrieval(score, regions, bank)
        return score

    def _add_kmeans(self, score: Score, regions: Sequence[Region]) -> None:
        found = kmeans_scores(regions, self.protocol.clusters, self.protocol)
        means = _means(found)
        score.metrics |= {
            "kmeans_miou": float(means["miou"]),
            "kmeans_miou_std": float(torch.stack([each.scores["miou"] for each in found]).std(correction=0)),
            "kmeans_miou_present": float(means["miou_present"]),
            "kmeans_accuracy": float(means["accuracy"]),
        }
        score.per_class["kmeans_miou"] = means["per_class"].tolist()
        first = found[0]
        classes = first.scores["mapping"][first.labels + 1].tolist()
        for region, cluster, found_class in zip(regions, first.labels.tolist(), classes, strict=True):
            true_class = most_frequent(region.counts[1], ignore=[0])
            score.details[region.name] = {"cluster": cluster, "class": found_class, "true_class": true_class}

    def _add_overclustering(self, score: Score, regions: Sequence[Region], clusters: int) -> None:
        best = _means(kmeans_scores(regions, clusters, self.protocol, "majority"))
        matched = _means(kmeans_scores(regions, clusters, self.protocol, "hungarian"))
        score.metrics |= {
            "overclustering_miou": float(best["miou"]),
            "overclustering_miou_present": float(best["miou_present"]),
            "overclustering_miou_matched": float(matched["miou"]),
        }

    def _add_retrieval(self, score: Score, regions: Sequence[Region], bank: Sequence[Region]) -> None:
        found = retrieval_scores(regions, bank, range(1, self.protocol.num_classes))
        if found is None:
            return
        score.metrics["retrieval_miou"] = float(found["miou"])
        score.metrics["retrieval_miou_present"] = float(found["miou_present"])
        score.per_class["retrieval_miou"] = found["per_class"].tolist()
        few = self.protocol.retrieval_classes
        if few and max(few) < self.protocol.num_classes:
            found = retrieval_scores(regions, bank, few)
            if found is not None:
                score.metrics["retrieval_7_miou"] = float(found["per_class"][1:].mean())  # without the background


def _means(found: Sequence[Clustered]) -> dict[str, Tensor]:
    keys = ("miou", "miou_present", "accuracy", "per_class")
    return {key: torch.stack([each.scores[key] for each in found]).mean(dim=0) for key in keys}


def _flat(image: Tensor) -> Tensor:
    return image.reshape(image.shape[-2:])


def _nearest(values: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (H, W) of any dtype."""
    if values.shape == tuple(size):
        return values
    return interpolate(values[None, None].float(), size=tuple(size), mode="nearest")[0, 0].to(values.dtype)
