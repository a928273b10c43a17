from .base import Backbone as Backbone
from .factory import create_backbone as create_backbone
from .registry import BACKBONE_NAMES as BACKBONE_NAMES
