"""Generators and discriminators by name; a new one is a file here, a line in a table and its options in config.py."""

from cyclestyle.nets.layers import fix_weights, init_weights
from cyclestyle.nets.patchgan import PatchDiscriminator, PixelDiscriminator
from cyclestyle.nets.resnet import ResnetGenerator

GENERATORS = {"resnet": ResnetGenerator}
DISCRIMINATORS = {"patchgan": PatchDiscriminator, "pixel": PixelDiscriminator}

__all__ = ["DISCRIMINATORS", "GENERATORS", "fix_weights", "init_weights"]
