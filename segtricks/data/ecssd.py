"""ECSSD: 1,000 photographs with complex scenes."""

from segtricks.data.published import PublishedDataset


class ECSSD(PublishedDataset):
    """Extended Complex Scene Saliency Dataset, a test set.

    Size: 1,000 images of about 400 x 300 pixels, 69 MB. Format: ``ECSSD/images/*.jpg`` and
    ``ECSSD/ground_truth_mask/*.png``, masks 0/255.
    Source: https://www.cse.cuhk.edu.hk/leojia/projects/hsaliency/dataset.html

    Shi, Yan, Xu, Jia, "Hierarchical Image Saliency Detection on Extended CSSD", IEEE TPAMI 38(4), 2016.
    """

    title = "ECSSD"
    expected = 1_000
    folders = ("ECSSD", "ecssd")
    image_folder = "images"
    mask_folder = "ground_truth_mask"
    urls = (
        "https://www.cse.cuhk.edu.hk/leojia/projects/hsaliency/data/ECSSD/images.zip",
        "https://www.cse.cuhk.edu.hk/leojia/projects/hsaliency/data/ECSSD/ground_truth_mask.zip",
    )
