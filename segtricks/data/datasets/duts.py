"""DUTS: the training and the test set of salient object detection."""

from segtricks.data.datasets.published import PairedDataset
from segtricks.data.download.archive import Archive

_LICENSE = "for research; images of ImageNet and SUN under their own terms"
_CITATION = (
    "Wang, Lu, Wang, Feng, Wang, Yin, Ruan, "
    '"Learning to Detect Salient Objects with Image-level Supervision", CVPR 2017'
)


class DUTSTrain(PairedDataset):
    """DUTS-TR, the training set; its masks are not needed for training.

    Size: 10,553 images of ImageNet DET, about 400 x 300 pixels, 271 MB. Format: ``DUTS-TR/DUTS-TR-Image/*.jpg`` and
    ``DUTS-TR/DUTS-TR-Mask/*.png``, masks 0..255. Three masks lie there a second time as ``.jpg``: the ``.png`` is read.
    Source: http://saliencydetection.net/duts/
    """

    title = "DUTS-TR"
    expected = 10_553
    folders = ("DUTS-TR", "DUTS/DUTS-TR", "DUTS")
    image_folder = "DUTS-TR-Image"
    mask_folder = "DUTS-TR-Mask"
    license_note = _LICENSE
    citation = _CITATION
    archives = (
        Archive(
            "http://saliencydetection.net/duts/download/DUTS-TR.zip",
            size=270_997_309,
            md5="30256edc326a4f6c880414f16114c356",
        ),
    )


class DUTSTest(PairedDataset):
    """DUTS-TE, the test set.

    Size: 5,019 images of ImageNet DET and SUN, about 400 x 300 pixels, 139 MB. Format: ``DUTS-TE/DUTS-TE-Image/*.jpg``
    and ``DUTS-TE/DUTS-TE-Mask/*.png``, masks 0..255.
    Source: http://saliencydetection.net/duts/
    """

    title = "DUTS-TE"
    expected = 5_019
    folders = ("DUTS-TE", "DUTS/DUTS-TE", "DUTS")
    image_folder = "DUTS-TE-Image"
    mask_folder = "DUTS-TE-Mask"
    license_note = _LICENSE
    citation = _CITATION
    archives = (
        Archive("http://saliencydetection.net/duts/download/DUTS-TE.zip", md5="ed8b6d5995132fb2900657e46a584923"),
    )
