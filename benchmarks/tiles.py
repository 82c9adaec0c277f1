"""Tiles against one pass: `python benchmarks/tiles.py MODEL PICTURE [--tile off 512 ...] [--megapixels 3 12 ...]`.

A part of PICTURE from its middle, or all of it enlarged, is translated as it is (`--scale native`), in turns. Prints
seconds, also a megapixel, memory of a GPU (reserved, and in use of that), and how far the pixels are from those of the
first. `--spare 7` takes all memory of the GPU but 7 GiB before, as if it were a small card.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timing import Timing

from cyclestyle.checkpoint import read_model
from cyclestyle.images import read_image
from cyclestyle.translate.style import Style
from cyclestyle.translate.translator import Translator


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", type=Path, metavar="MODEL")
    parser.add_argument("picture", type=Path, metavar="PICTURE")
    parser.add_argument("--tile", nargs="+", default=["off", "auto"], help="sides, off or auto (default: off auto)")
    parser.add_argument("--megapixels", nargs="+", type=float, default=[3.0], metavar="N", help="default: 3")
    parser.add_argument("--direction", default="BtoA", choices=("AtoB", "BtoA"), help="default: BtoA")
    parser.add_argument("--device", default="auto", help="default: auto")
    parser.add_argument("--precision", default="fp32", help="default: fp32")
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="after one that does not count (default: 2)")
    parser.add_argument("--spare", type=float, metavar="GIB", help="memory of a GPU to do with (default: all)")
    args = parser.parse_args()
    if args.spare and not torch.cuda.is_available():
        parser.error("--spare: there is no GPU")
    taken = _taken(args.spare) if args.spare else None
    model, whole = read_model(args.model), read_image(args.picture)
    sides = {tile: int(tile) if tile.isdecimal() else tile for tile in args.tile}
    ways = {
        tile: Translator(model, args.direction, args.device, args.precision, side, Style("native"))
        for tile, side in sides.items()
    }
    for size in args.megapixels:
        picture = _of_size(whole, size * 1e6)
        made: dict[str, np.ndarray] = {}
        seconds: dict[str, list[float]] = {tile: [] for tile in ways}
        memory = dict.fromkeys(ways, "")
        for _ in range(args.rounds + 1):
            for tile, translator in ways.items():
                made[tile], spent, memory[tile] = _measured(translator, picture, taken)
                seconds[tile].append(spent)
        for tile, translator in ways.items():
            timing = Timing(seconds[tile][1:] or seconds[tile])
            rows = zip(made[tile], made[args.tile[0]], strict=True)
            apart = [np.abs(np.subtract(ours, first, dtype=np.int16)) for ours, first in rows]
            print(
                f"{picture.shape[1]}x{picture.shape[0]}, tile {tile}: {timing.median:.2f} s +-{timing.spread:.0%}, "
                f"{timing.median / size:.3f} s a megapixel, {memory[tile]}differs by "
                f"{max(a.max() for a in apart)} at most, {np.mean([a.mean() for a in apart]):.4f} on average; "
                + (translator.tiling(picture) or "in one pass"),
                flush=True,
            )
    return 0


def _of_size(whole: np.ndarray, pixels: float) -> np.ndarray:
    """As many pixels from the middle, or, where there are fewer, of the whole enlarged."""
    height, width = whole.shape[:2]
    share = math.sqrt(pixels / (height * width))
    rows, columns = round(height * share), round(width * share)
    if share > 1:
        return np.asarray(Image.fromarray(whole).resize((columns, rows), Image.Resampling.BICUBIC))
    top, left = (height - rows) // 2, (width - columns) // 2
    return whole[top : top + rows, left : left + columns]


def _taken(spare: float) -> torch.Tensor:
    """A tensor that takes the memory of the GPU, but for so many GiB."""
    return torch.empty(torch.cuda.mem_get_info()[0] - round(spare * 2**30), dtype=torch.uint8, device="cuda")


def _measured(translator: Translator, picture: np.ndarray, taken: torch.Tensor | None) -> tuple[np.ndarray, float, str]:
    """The translation, the seconds it took, and the memory of a GPU beside what was taken before."""
    on_gpu = translator.device.type == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    made = translator(picture)
    seconds = time.perf_counter() - began
    if not on_gpu:
        return made, seconds, ""
    before = 0 if taken is None else taken.nbytes
    reserved, used = torch.cuda.max_memory_reserved() - before, torch.cuda.max_memory_allocated() - before
    return made, seconds, f"{reserved / 2**30:.1f} GiB ({used / 2**30:.1f}), "


if __name__ == "__main__":
    raise SystemExit(main())
