"""CycleGAN for pictures: train on two unpaired folders, translate anything."""

__version__ = "0.1.0"
