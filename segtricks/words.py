"""The words that options take. They need no torch, so that a parser can list them at once."""

FORMATS = ("masks", "coco", "yolo", "labelme", "cutout")
"""What masks can be written as: pictures, or what other tools read."""

MIN_AREA = 0.001
"""Share of a photograph below which an object is left out of the formats of other tools."""
