"""Flicker of translated clips: `python benchmarks/flicker.py SOURCE TRANSLATION... [--start TIME --end TIME]`.

Prints the warping error, that is the mean squared difference between a picture and the one before, moved along by the
optical flow of the source, where that flow leads forth and back; the same after a blur, for tone alone; and the detail,
that is the variance of the Laplacian, as a share of that of the first translation.
"""

import argparse
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cyclestyle.translate.clips import Clip
from cyclestyle.translate.flicker import agreeing, moved
from cyclestyle.translate.video_options import VideoOptions

WIDTH = 480  # pixels at which all is measured
BLUR = 4.5  # pixels


def read(path: Path, options: VideoOptions) -> list[np.ndarray]:
    """uint8 (H, WIDTH, 3) each."""
    pictures = (shot.pixels for shot in Clip(path, options).shots())
    return [
        np.asarray(cv2.resize(p, (WIDTH, round(p.shape[0] * WIDTH / p.shape[1])), interpolation=cv2.INTER_AREA))
        for p in pictures
    ]


def flows(source: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each picture but the first: the flow (H, W, 2) to the one before, and where it can be trusted."""
    search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in source]
    found = []
    for one, other in pairwise(grey):
        back = np.asarray(search.calc(other, one, None))
        forth = np.asarray(search.calc(one, other, None))
        found.append((back, agreeing(back, forth)))
    return found


def warping_error(pictures: list[np.ndarray], ways: list[tuple[np.ndarray, np.ndarray]], blur: float = 0) -> float:
    if blur:
        pictures = [np.asarray(cv2.GaussianBlur(p.astype(np.float32), (0, 0), blur)) for p in pictures]
    pairs = zip(pairwise(pictures), ways, strict=True)
    return float(np.mean([((b - moved(a, flow)) ** 2).mean(-1)[seen].mean() for (a, b), (flow, seen) in pairs]))


def detail(pictures: list[np.ndarray]) -> float:
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures]
    return float(np.mean([np.asarray(cv2.Laplacian(g, cv2.CV_32F)).var() for g in grey]))


def main() -> None:
    parser = argparse.ArgumentParser(description="How much translated clips flicker.")
    parser.add_argument("source", type=Path)
    parser.add_argument("translations", nargs="+", type=Path)
    parser.add_argument("--start", type=Fraction, default=Fraction(0), help="of the source, in seconds")
    parser.add_argument("--end", type=Fraction, help="of the source, in seconds")
    args = parser.parse_args()
    source = read(args.source, VideoOptions(start=args.start, end=args.end))
    ways = flows(source)
    print(f"{len(source)} pictures, {np.mean([seen.mean() for _, seen in ways]):.0%} of their pixels compared")
    print(f"{'':30} error  tone  detail")
    whole = 0.0
    for path in (args.source, *args.translations):
        pictures = source if path == args.source else read(path, VideoOptions())
        if len(pictures) != len(source):
            parser.error(f"{path}: has {len(pictures)} pictures, the source {len(source)}; give its --start and --end")
        fine = detail(pictures)
        whole = whole or (fine if path != args.source else 0)
        share = f"{fine / whole:7.2f}" if whole else ""
        told = f"{warping_error(pictures, ways):6.2f} {warping_error(pictures, ways, BLUR):5.2f} {share}"
        print(f"{str(path)[-30:]:30} {told}", flush=True)


if __name__ == "__main__":
    main()
