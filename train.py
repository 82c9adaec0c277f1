"""Train a CycleGAN: `python train.py --config configs/ink2photo.yaml [section.key=value ...]`."""

import sys

from cyclestyle.train import main

if __name__ == "__main__":
    sys.exit(main())
