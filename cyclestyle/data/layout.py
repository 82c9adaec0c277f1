"""What a data folder looks like: trainA, trainB, testA, testB and, if wanted, valA and valB; needs no torch."""

import os
from pathlib import Path

from cyclestyle.config import DataConfig
from cyclestyle.errors import UserError

HOW_TO_GET_DATA = (
    "put pictures into FOLDER/trainA, FOLDER/trainB, FOLDER/testA and FOLDER/testB and set data.root=FOLDER, "
    "or draw some: python -m cyclestyle.data.synthetic datasets/drawn --count 200 --size 144"
)


class DataError(UserError):
    """A data folder that cannot be trained on."""


def split_folder(config: DataConfig, split: str) -> Path:
    """The folder `root/split`, such as trainA.

    Raises:
        DataError: the root is not set, or one of the folders is missing; the text says how to get data.
    """
    if config.root is None:
        raise DataError(f"data.root: is not set; {HOW_TO_GET_DATA}")
    root = Path(os.path.expanduser(config.root))
    if not root.is_dir():
        raise DataError(f"data.root: there is no folder '{root}'; {HOW_TO_GET_DATA}")
    folder = root / split
    if not folder.is_dir():
        there = ", ".join(sorted(p.name for p in root.iterdir() if p.is_dir())) or "no folders"
        needed = "trainA and trainB" if split.startswith("train") else f"{split[:-1]}A and {split[:-1]}B for this"
        raise DataError(f"{folder}: this folder is missing; {root} needs {needed}, and has {there}")
    return folder
