"""DUT-OMRON: 5,168 photographs, one or more salient objects each."""

from segtricks.data.datasets.published import PairedDataset
from segtricks.data.download.archive import Archive


class DUTOMRON(PairedDataset):
    """DUT-OMRON with its pixelwise ground truth, a test set.

    Size: 5,168 images, the longer side 400 pixels. Format: ``DUT-OMRON/DUT-OMRON-image/*.jpg`` and
    ``DUT-OMRON/pixelwiseGT-new-PNG/*.png``, masks 0/255; the archives nest both folders in themselves.
    Source: http://saliencydetection.net/dut-omron/
    """

    title = "DUT-OMRON"
    expected = 5_168
    folders = ("DUT-OMRON", "DUTOMRON", "DUT-OMRON-gt-pixelwise", "DUT-OMRON/DUT-OMRON-gt-pixelwise")
    image_folder = "DUT-OMRON-image"
    mask_folder = "pixelwiseGT-new-PNG"
    license_note = "for research; no license stated"
    citation = 'Yang, Zhang, Lu, Ruan, Yang, "Saliency Detection via Graph-based Manifold Ranking", CVPR 2013'
    archives = (
        Archive("http://saliencydetection.net/dut-omron/download/DUT-OMRON-image.zip", folder="DUT-OMRON"),
        Archive(
            "http://saliencydetection.net/dut-omron/download/DUT-OMRON-gt-pixelwise.zip.zip",
            folder="DUT-OMRON",
            nested=True,
        ),
    )
