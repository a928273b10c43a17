"""The loss stack as pure functions of tensors. Every loss is a mean over the batch, in float32."""

from segtricks.losses.consistency import multiscale_consistency_loss, self_consistency_loss
from segtricks.losses.correspondence import correspondence_loss, feature_cosines, sample_points
from segtricks.losses.normalized_cut import affinity, normalized_cut_loss
from segtricks.losses.prototypes import balanced_bce_loss, mask_contrastive_loss, mask_prototypes
from segtricks.losses.query import RankingOrder, SelfMaskLoss, query_dice_loss, query_ranking_loss, selfmask_loss
from segtricks.losses.tau import Graph, Tau, measure_graph, share_of, threshold
from segtricks.losses.total_variation import feature_tv_loss, image_tv_loss

__all__ = [
    "Graph",
    "RankingOrder",
    "SelfMaskLoss",
    "Tau",
    "affinity",
    "balanced_bce_loss",
    "correspondence_loss",
    "feature_cosines",
    "feature_tv_loss",
    "image_tv_loss",
    "mask_contrastive_loss",
    "mask_prototypes",
    "measure_graph",
    "multiscale_consistency_loss",
    "normalized_cut_loss",
    "query_dice_loss",
    "query_ranking_loss",
    "sample_points",
    "self_consistency_loss",
    "selfmask_loss",
    "share_of",
    "threshold",
]
