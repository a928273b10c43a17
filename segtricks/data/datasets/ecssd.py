"""ECSSD: 1,000 photographs with complex scenes."""

from segtricks.data.datasets.published import PairedDataset
from segtricks.data.download.archive import Archive


class ECSSD(PairedDataset):
    """Extended Complex Scene Saliency Dataset, a test set.

    Size: 1,000 images of about 400 x 300 pixels, 69 MB. Format: ``ECSSD/images/*.jpg`` and
    ``ECSSD/ground_truth_mask/*.png``, masks 0/255.
    Source: https://www.cse.cuhk.edu.hk/leojia/projects/hsaliency/dataset.html
    """

    title = "ECSSD"
    expected = 1_000
    folders = ("ECSSD", "ecssd")
    image_folder = "images"
    mask_folder = "ground_truth_mask"
    license_note = "for research; no license stated"
    citation = 'Shi, Yan, Xu, Jia, "Hierarchical Image Saliency Detection on Extended CSSD", IEEE TPAMI 38(4), 2016'
    archives = (
        Archive(
            "https://www.cse.cuhk.edu.hk/leojia/projects/hsaliency/data/ECSSD/images.zip",
            folder="ECSSD",
            size=67_766_979,
            sha256="7d5dce1a21c6d82e2f9617c00ad7eae2de5ded9320e8c59a01b4c731d210ea47",
        ),
        Archive(
            "https://www.cse.cuhk.edu.hk/leojia/projects/hsaliency/data/ECSSD/ground_truth_mask.zip",
            folder="ECSSD",
            size=1_571_109,
            sha256="dc0a9f11f2adee2737d95b28f9567a0a5de33f78743447c097ceb4d42f281a31",
        ),
    )
