"""Finds copies of one picture: same pixels, or rescaled, recompressed, cropped a little, mirrored, brightened, grey.

Two stages. Descriptors of low frequencies, those of slight crops of one picture beside those of the whole other and its
mirror image, leave a few candidates; these are laid over each other as well as they can be, and their gradients are
compared. Gradients do not know brightness, and block by block they tell a common frame from a common picture.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

THUMB = 96
_FREQUENCIES = 10
_INTERVALS = [(0.0, 1.0), (0.05, 0.95), (0.0, 0.95), (0.05, 1.0), (0.0, 0.9), (0.1, 1.0), (0.1, 0.9)]  # of a side
_LIKELY = 0.72  # of descriptors: copies reach 0.89, one in a thousand pairs of unrelated landscapes this
_NEAREST = 16  # candidates of a picture, so that a set of pictures that are all alike ends, too
_COARSE, _FINE = 32, 48  # pixels of the side at which two pictures are compared
_PROMISING = (0.4, 0.6)  # likeness before and after a first alignment: copies reach 0.57 and 0.9
LIKENESS = 0.8  # of gradients, from -1 to 1: copies reach 0.86, unrelated landscapes 0.7, in equal frames 0.92
_BLOCKWISE = 0.6  # the same in blocks, of which 30 % may be worse: copies reach 0.72, landscapes in frames 0.47
_WORSE = 30  # per cent
_BLOCKS = 6
_FAINT, _PLAIN = 0.75, 3.0  # grey levels from pixel to pixel in a block: both need the first, or one the second

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Pair:
    """Two copies, by their numbers; `likeness` is 1 for the same pixels."""

    first: int
    second: int
    likeness: float = 1.0
    mirrored: bool = False

    @property
    def exact(self) -> bool:
        return self.likeness == 1


def thumbnail(picture: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) -> its luminance, squeezed to uint8 (96, 96)."""
    return np.asarray(Image.fromarray(picture).convert("L").resize((THUMB, THUMB), Image.Resampling.BILINEAR))


def find_pairs(digests: Sequence[str], thumbs: np.ndarray) -> list[Pair]:
    """All pairs of copies among pictures; memory grows with the number of pictures and of pairs.

    Args:
        digests: one for each picture, equal where all pixels are.
        thumbs: uint8 (N, 96, 96) of `thumbnail`.

    Returns:
        pairs with first < second, in order.
    """
    same = defaultdict(list)
    for number, digest in enumerate(digests):
        same[digest].append(number)
    pairs = [Pair(*two) for numbers in same.values() for two in combinations(numbers, 2)]
    several = list(same.values())
    for near in _near_pairs(thumbs[[numbers[0] for numbers in several]]):
        for one, other in product(several[near.first], several[near.second]):
            pairs.append(Pair(min(one, other), max(one, other), near.likeness, near.mirrored))
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))


def groups(count: int, pairs: Sequence[Pair]) -> list[list[int]]:
    """The numbers 0 to count - 1 in groups that pairs hold together, most of them alone; all in order."""
    group = {number: [number] for number in range(count)}
    for pair in pairs:
        one, other = group[pair.first], group[pair.second]
        if one is not other:
            one += other
            group.update(dict.fromkeys(other, one))
    return sorted(sorted(numbers) for numbers in {id(numbers): numbers for numbers in group.values()}.values())


def _near_pairs(thumbs: np.ndarray) -> list[Pair]:
    images = [Image.fromarray(thumb) for thumb in thumbs]
    bar = tqdm(_candidates(thumbs), "comparing", unit="pair", disable=None, leave=False)
    return [found for pair in bar if (found := _compare(images, thumbs, pair))]


def _candidates(thumbs: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of numbers of pictures one of which may show what the other shows, or all of it but a margin."""
    whole = _descriptors(thumbs)[0]
    targets = np.concatenate([whole, whole * _mirror()]).T
    candidates = set()
    step = 64
    for start in tqdm(range(0, len(thumbs), step), "searching copies", unit="block", disable=None, leave=False):
        block = thumbs[start : start + step]
        likeness = np.full((len(block), targets.shape[1]), -1, np.float32)
        for window in _descriptors(block, _INTERVALS):
            np.maximum(likeness, window @ targets, out=likeness)
        likeness = likeness.reshape(len(block), 2, -1).max(1)
        likeness[np.arange(len(block)), start + np.arange(len(block))] = -1
        for row in np.flatnonzero(likeness.max(1) > _LIKELY).tolist():
            nearest = np.argsort(-likeness[row], kind="stable")[:_NEAREST]
            candidates |= {
                (min(start + row, n), max(start + row, n)) for n in nearest[likeness[row, nearest] > _LIKELY].tolist()
            }
    return sorted(candidates)


def _descriptors(thumbs: np.ndarray, intervals: list[tuple[float, float]] = _INTERVALS[:1]) -> np.ndarray:
    """float32 (windows, N, 100) of length 1: the lowest frequencies of all windows that the intervals make."""
    count, many = len(thumbs), len(intervals)
    halves = thumbs.reshape(count, THUMB // 2, 2, THUMB // 2, 2).mean((2, 4), dtype=np.float32)
    cosines = np.concatenate([_cosines(interval) for interval in intervals])
    found = (cosines @ halves @ cosines.T).reshape(count, many, _FREQUENCIES, many, _FREQUENCIES)
    frequency = np.hypot(*np.mgrid[:_FREQUENCIES, :_FREQUENCIES])
    weights = np.where(frequency < _FREQUENCIES, frequency, 0).astype(np.float32)  # pictures have less of the high ones
    flat = (found.transpose(1, 3, 0, 2, 4) * weights).reshape(many * many, count, _FREQUENCIES**2)
    normalised: np.ndarray = flat / np.maximum(np.linalg.norm(flat, axis=2, keepdims=True), 1e-6)
    return normalised


def _cosines(interval: tuple[float, float]) -> np.ndarray:
    """float32 (frequencies, THUMB / 2): the cosine transform of a part of a row."""
    low, high = interval
    edges = np.linspace(0, 1, THUMB // 2 + 1)
    inside = np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None)
    place = ((edges[1:] + edges[:-1]) / 2 - low) / (high - low)
    return (np.cos(np.pi * np.arange(_FREQUENCIES)[:, None] * place) * inside).astype(np.float32)


def _mirror() -> np.ndarray:
    """float32 (100,) of signs: mirrored, a picture's odd frequencies change theirs."""
    return np.tile((-1.0) ** np.arange(_FREQUENCIES), _FREQUENCIES).astype(np.float32)


def _compare(images: list[Image.Image], thumbs: np.ndarray, pair: tuple[int, int]) -> Pair | None:
    both = thumbs[list(pair)]
    windows, (whole,) = _descriptors(both, _INTERVALS), _descriptors(both)
    targets = np.stack([whole, whole * _mirror()])[:, ::-1]  # each picture's windows meet the other picture
    likeness = np.einsum("wnd,mnd->wmn", windows, targets)
    window, mirrored, larger = (int(i) for i in np.unravel_index(likeness.argmax(), likeness.shape))
    one, other = images[pair[larger]], images[pair[1 - larger]]
    if mirrored:
        other = ImageOps.mirror(other)
    (top, bottom), (left, right) = (_INTERVALS[i] for i in divmod(window, len(_INTERVALS)))
    score, box = _align(one, other, (left, top, right, bottom))
    if score < _PROMISING[1]:
        return None
    gradients = _gradients(one, other, box, _FINE)
    overall = _correlation(*gradients)
    if overall < LIKENESS or _blockwise(*gradients) < _BLOCKWISE:
        return None
    return Pair(*pair, min(overall, 0.999), bool(mirrored))


def _align(one: Image.Image, other: Image.Image, box: Box) -> tuple[float, Box]:
    """Move the edges of the part of `one` that `other` shows until both are most alike, in ever smaller steps."""

    def score(box: Box) -> float:
        return _correlation(*_gradients(one, other, box, _COARSE))

    best = score(box)
    if best < _PROMISING[0]:
        return best, box
    for step in (0.04, 0.02, 0.01, 0.005):
        improving = True
        while improving:
            improving = False
            for edges in ((0,), (1,), (2,), (3,), (0, 2), (1, 3)):
                for way in (step, -step):
                    moved = list(box)
                    for edge in edges:
                        moved[edge] += way
                    tried = (moved[0], moved[1], moved[2], moved[3])
                    if _common(tried) > 0.7 and (new := score(tried)) > best + 1e-4:
                        best, box, improving = new, tried, True
        if best < _PROMISING[1]:
            break
    return best, box


def _common(box: Box) -> float:
    """How much of each side of the first picture the second shows; the lesser of both sides."""
    return min(min(box[i + 2], 1) - max(box[i], 0) for i in (0, 1))


def _gradients(one: Image.Image, other: Image.Image, box: Box, size: int) -> list[np.ndarray]:
    """Of what both show, each float32 (2, size, size), to the right and down.

    Args:
        box: where in the first the second lies; may reach beyond it.
    """
    inside = [max(box[0], 0), max(box[1], 0), min(box[2], 1), min(box[3], 1)]
    within = [(inside[i] - box[i % 2]) / (box[i % 2 + 2] - box[i % 2]) for i in range(4)]
    found = []
    for image, part in ((one, inside), (other, within)):
        edges = (part[0] * THUMB, part[1] * THUMB, min(part[2], 1) * THUMB, min(part[3], 1) * THUMB)
        seen = np.asarray(image.resize((size + 1, size + 1), Image.Resampling.BILINEAR, box=edges), np.float32)
        corner = seen[:-1, :-1]
        found.append(np.array([seen[:-1, 1:] - corner, seen[1:, :-1] - corner]))
    return found


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.vdot(one, other) / max(np.sqrt(np.vdot(one, one) * np.vdot(other, other)), 1e-6))


def _blockwise(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of two (2, n, n) gradients that most of the blocks with detail reach; -1 if there are few such."""
    edge = one.shape[1] // _BLOCKS

    def sums(values: np.ndarray) -> np.ndarray:
        return values.sum(0).reshape(_BLOCKS, edge, _BLOCKS, edge).sum((1, 3))

    both, own, others = sums(one * other), sums(one**2), sums(other**2)
    less, more = np.minimum(own, others) / edge**2, np.maximum(own, others) / edge**2
    detailed = (less > _FAINT**2) | (more > _PLAIN**2)  # brightened paper may have lost what was faint
    if detailed.sum() < 3:
        return -1.0
    return float(np.percentile((both / np.maximum(np.sqrt(own * others), 1e-6))[detailed], _WORSE))
