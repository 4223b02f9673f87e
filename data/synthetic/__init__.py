"""A drawn world with exact ground truth: people, garments, jewelry, products and rooms, from a seed, at any size, without downloads."""

from .adorned import jewelry_sample
from .pictures import PICTURES, Picture, draw_picture
from .placed import insertion_sample
from .samples import GREY, InsertionSample, JewelrySample, PersonSample, WornGarment, fill
from .scenes import person_sample
from .world import KINDS, World

__all__ = [
    "GREY", "KINDS", "PICTURES", "InsertionSample", "JewelrySample", "PersonSample", "Picture", "World", "WornGarment", "draw_picture", "fill",
    "insertion_sample", "jewelry_sample", "person_sample",
]
