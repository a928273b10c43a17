"""TokenCut at 40 x 40 patches against a dense solve, and the bilateral solver against a direct one, in one run.

    OMP_NUM_THREADS=1 python experiments/speed_discovery/run.py --images PHOTOS

The other sides are written here, with SciPy, from the papers' definitions; SciPy is needed for this benchmark alone.
Sides alternate; figures are medians over repetitions, in milliseconds per image.
"""

import argparse
import csv
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.linalg import eigh
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import cg
from torch.nn.functional import interpolate, normalize

from segtricks.backbones import create_backbone
from segtricks.data import find_images
from segtricks.data.images import read_image
from segtricks.data.transforms import to_input
from segtricks.discovery import tokencut
from segtricks.refine import BILATERAL_PRESETS

HERE = Path(__file__).parent
YUV = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def dense_vector(features: torch.Tensor, tau: float = 0.2) -> np.ndarray:
    """Second generalised eigenvector of one image's graph by a dense solver."""
    unit = normalize(features.flatten(1), dim=0)
    weights = np.where((unit.T @ unit).numpy() > tau, 1.0, 1e-5)
    degree = np.diag(weights.sum(axis=1))
    return eigh(degree - weights, degree, subset_by_index=[1, 1])[1][:, 0]


def direct_solver(image: np.ndarray, mask: np.ndarray, sigmas: tuple[float, float, float]) -> np.ndarray:
    """The bilateral solver of one image (H, W, 3) uint8 with sparse matrices."""
    (spatial, luma, chroma), (height, width) = sigmas, mask.shape
    yuv = np.tensordot(image.astype(float), YUV, ([2], [1])) + np.array([0, 128, 128])
    rows, columns = np.mgrid[:height, :width]
    cells = [columns // spatial, rows // spatial, *np.moveaxis(yuv / [luma, chroma, chroma], 2, 0)]
    strides = 1000 ** np.arange(5)
    code = (np.stack([cell.astype(np.int64) for cell in cells], -1).reshape(-1, 5) + 1) @ strides
    codes, vertex = np.unique(code, return_inverse=True)
    count = len(codes)
    splat = coo_matrix((np.ones(vertex.size), (vertex.ravel(), np.arange(vertex.size)))).tocsr()
    blur = diags(np.full(count, 10.0))
    for step in (*strides, *-strides):
        place = np.searchsorted(codes, codes + step).clip(0, count - 1)
        there = codes[place] == codes + step
        blur = blur + coo_matrix((np.ones(there.sum()), (np.flatnonzero(there), place[there])), shape=(count, count))
    blur = blur.tocsr()
    mass, n = splat @ np.ones(vertex.size), np.ones(count)
    for _ in range(10):
        n = np.sqrt(n * mass / (blur @ n))
    smooth = diags(n * (blur @ n)) - diags(n) @ blur @ diags(n)
    system = (256 * smooth + diags(0.999 * mass)).tocsr()
    right = splat @ mask.ravel() * 0.999
    floor = diags(1 / np.maximum(system.diagonal(), 1e-5))
    solution, _ = cg(system, right, x0=right / (0.999 * mass), M=floor, maxiter=25, rtol=1e-5)
    return (splat.T @ solution).reshape(height, width)


def one_by_one(call: Callable[..., Any], pairs: list[Any]) -> None:
    for pair in pairs:
        call(*pair)


def in_threads(call: Callable[..., Any], pairs: list[Any]) -> None:
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(lambda pair: call(*pair), pairs))


def timed(call: Callable[[], object], images: int) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) / images * 1000


def main() -> None:
    """Time everything and write results.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="folder of photographs; the first eight are taken")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--output", type=Path, default=HERE / "results.csv")
    options = parser.parse_args()
    photos = [read_image(path) for path in find_images(options.images)[:8]]
    square = torch.cat([interpolate(p[None], (320, 320), mode="bilinear", antialias=True) for p in photos])
    features = create_backbone("descriptor")(to_input(square))
    grids = tokencut(features).mask
    masks = interpolate(grids, size=(320, 320), mode="nearest")
    arrays = square.permute(0, 2, 3, 1).numpy()
    rows = []

    def compare(what: str, sides: dict[str, Callable[[], object]], first: str) -> None:
        for side in sides.values():
            side()
        times: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(options.repeat):
            for name, side in sides.items():
                times[name].append(timed(side, len(photos)))
        for name, values in times.items():
            median = statistics.median(values)
            ratio = statistics.median(times[first]) / median
            rows.append([what, name, torch.get_num_threads(), f"{median:.1f}", f"{ratio:.2f}"])
            print(*rows[-1], sep="\t", flush=True)

    dense = [dense_vector(image) for image in features]
    ours = tokencut(features).eigenvector.flatten(1).double().numpy()
    cosine = min(abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(dense, ours, strict=True))
    print(f"smallest |cosine| of the two eigenvectors: {cosine:.10f}")
    sides = {"dense": lambda: [dense_vector(image) for image in features], "ours": lambda: tokencut(features)}
    compare("TokenCut, 8 grids of 40x40", sides, "dense")
    for name, solver in BILATERAL_PRESETS.items():
        sigmas = (solver.sigma_spatial, solver.sigma_luma, solver.sigma_chroma)

        call = partial(direct_solver, sigmas=sigmas)
        pairs = list(zip(arrays, masks[:, 0].numpy(), strict=True))
        tensors = list(zip(masks.split(1), (square / 255).split(1), strict=True))
        refined = solver(masks, square / 255)[:, 0].numpy()
        difference = max(np.abs(call(*pair) - mask).max() for pair, mask in zip(pairs, refined, strict=True))
        print(f"{name}: largest difference {difference:.1e}")
        sides = {
            "direct": partial(one_by_one, call, pairs),
            "direct in threads": partial(in_threads, call, pairs),
            "ours, one by one": partial(one_by_one, solver, tensors),
            "ours, batch": partial(solver, masks, square / 255),
        }
        compare(f"bilateral solver {name}, 8 images of 320x320", sides, "direct")
    with options.output.open("a" if options.output.exists() else "w", newline="") as file:
        writer = csv.writer(file)
        if not file.tell():
            writer.writerow(["what", "side", "threads", "ms_per_image", "times_faster_than_the_first_side"])
        writer.writerows(rows)
    print(f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS')}")


if __name__ == "__main__":
    main()
