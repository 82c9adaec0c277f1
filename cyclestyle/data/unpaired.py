"""Two domains of pictures; a training sample depends on the seed and its running number alone."""

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cyclestyle.config import DataConfig
from cyclestyle.data.augment import Pipeline
from cyclestyle.data.layout import DataError, split_folder
from cyclestyle.images import ImageError, find_images, prepare_image, read_image, resize_image


class _Cache:
    """Decoded pictures, kept while they fit into a number of bytes."""

    def __init__(self, size: int) -> None:
        self._free, self._kept, self._lock = size, dict[Path, np.ndarray](), threading.Lock()

    def get(self, path: Path) -> np.ndarray | None:
        return self._kept.get(path)

    def offer(self, path: Path, picture: np.ndarray) -> None:
        with self._lock:
            if path not in self._kept and picture.nbytes <= self._free:
                self._free -= picture.nbytes
                self._kept[path] = picture


class UnpairedData:
    """The pictures of trainA and trainB, each read once before training to find bad files.

    Args:
        config: its `root` is set.
        seed: decides order and augmentation.

    Attributes:
        paths: the usable files of A and of B.
        skipped: a line for each unusable file (`on_bad_file: skip`).
        retries: of the run, to be set; others give other samples.

    Raises:
        DataError: a folder is missing or has too few pictures, or files are bad; every bad one is listed.
        ConfigError: `augment` is wrong.
    """

    def __init__(self, config: DataConfig, seed: int) -> None:
        self.config, self._seed, self.retries = config, seed, 0
        self._cache = _Cache(config.cache_mb * 2**20)
        self._pipelines = [
            Pipeline(steps, config, f"data.augment.{domain}")
            for domain, steps in (("A", config.augment.A), ("B", config.augment.B))
        ]
        self.paths = [list_pictures(config, f"train{domain}") for domain in "AB"]
        self.skipped: list[str] = []
        self._check_files()
        self.sample(0)  # says at once if a pipeline gives the wrong size

    def fingerprint(self) -> str:
        """Changes when a picture is added, removed or renamed: samples are then no longer those of before."""
        root = Path(os.path.expanduser(str(self.config.root)))
        names = [path.relative_to(root).as_posix() for paths in self.paths for path in paths]
        return hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()

    def epoch_length(self) -> int:
        """Samples until the larger domain has been seen once."""
        return max(map(len, self.paths))

    def sample(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The pictures of A and B of running number `number` (from 0): uint8 (crop_size, crop_size, 3) each.

        Each domain goes through its own pictures in an order that is drawn anew every time around.
        """
        pair = []
        for domain, (paths, pipeline) in enumerate(zip(self.paths, self._pipelines, strict=True)):
            around, index = divmod(number, len(paths))
            path = paths[_order((self._seed, domain, around, *retry_key(self.retries)), len(paths))[index]]
            key = np.random.SeedSequence([self._seed, domain, number, *retry_key(self.retries)]).generate_state(1)[0]
            pair.append(pipeline(self._read(path, "AB"[domain]), int(key)))
        return pair[0], pair[1]

    def _read(self, path: Path, domain: str) -> np.ndarray:
        """uint8 (H, W, 3), resized to load_size and prepared."""
        cached = self._cache.get(path)
        if cached is not None:
            return cached
        picture = read_image(path)
        height, width = picture.shape[:2]
        if min(height, width) < self.config.min_size:
            raise ImageError(f"{path}: tiny: {width}x{height} pixels, data.min_size is {self.config.min_size}")
        picture = fitted(picture, self.config, domain)
        height, width = picture.shape[:2]
        if min(height, width) < self.config.crop_size:
            raise ImageError(f"{path}: {width}x{height} pixels, smaller than data.crop_size {self.config.crop_size}")
        self._cache.offer(path, picture)
        return picture

    def _check_files(self) -> None:
        everything = [path for paths in self.paths for path in paths]
        domains = [domain for domain, paths in zip("AB", self.paths, strict=True) for _ in paths]
        with ThreadPoolExecutor(max(1, self.config.workers)) as pool:
            results = pool.map(self._problem, everything, domains)
            problems = list(tqdm(results, "checking files", len(everything), unit="file", disable=None, leave=False))
        bad = {path: problem for path, problem in zip(everything, problems, strict=True) if problem}
        if bad and self.config.on_bad_file == "error":
            lines = "\n".join(f"  {problem}" for problem in bad.values())
            raise DataError(
                f"{len(bad)} of {len(everything)} training pictures cannot be used:\n{lines}\n"
                "mend or remove them, or leave them out with data.on_bad_file=skip"
            )
        self.skipped = list(bad.values())
        self.paths = [[path for path in paths if path not in bad] for paths in self.paths]
        for domain, paths in zip("AB", self.paths, strict=True):
            if len(paths) < 2:
                left = f"{len(paths)} usable picture{'' if len(paths) == 1 else 's'}"
                raise DataError(f"{self.config.root}/train{domain}: holds {left}; a domain needs at least 2")

    def _problem(self, path: Path, domain: str) -> str | None:
        try:
            self._read(path, domain)
        except ImageError as error:
            return str(error)
        return None


def list_pictures(config: DataConfig, split: str) -> list[Path]:
    """The pictures below `root/split`, sorted.

    Raises:
        DataError: the root or the folder is missing, or holds no picture.
    """
    folder = split_folder(config, split)
    paths = find_images(folder)
    if not paths:
        raise DataError(
            f"{folder}: holds no pictures (looked for jpg, png, webp and other suffixes, also in subfolders)"
        )
    return paths


def fitted(picture: np.ndarray, config: DataConfig, domain: str) -> np.ndarray:
    """Resized to `load_size` and prepared, uint8 (H, W, 3) -> uint8 (H', W', 3)."""
    return prepare_image(resize_image(picture, config.load_size, config.resize), config, domain)


def retry_key(retries: int) -> list[int]:
    """What a run that went back adds to the keys of its random numbers, so that they are others."""
    return [retries] if retries else []


@lru_cache(maxsize=8)
def _order(key: tuple[int, ...], count: int) -> np.ndarray:
    return np.random.default_rng(key).permutation(count)
