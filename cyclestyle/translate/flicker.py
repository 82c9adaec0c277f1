"""Less flicker: pictures of a clip are drawn towards the ones before, moved along as the source moves.

The motion is found by dense inverse search (arXiv:1603.03590). Where the ways forth and back do not lead to the same
place, or the source itself has changed, a picture stays as it is: nothing is dragged along.
"""

from typing import Any

import numpy as np

from cyclestyle.images import to_8_bit

LEAST_SIDE = 12  # pixels; smaller pictures have no flow
AGREES = 0.01, 0.5  # how far forth and back may differ, squared: of the squared length of the way, and pixels
CHANGED = 12  # grey levels; where the source changes by so much, a third of the smoothing is left


class Smoother:
    """Smooths pictures of a clip, one after another.

    Args:
        strength: 0 to 1, how far a picture goes towards the one before.
        before: the last source and the last result, (H, W, 3) each, of a clip that goes on.
    """

    def __init__(self, strength: float, before: tuple[np.ndarray, np.ndarray] | None = None) -> None:
        import cv2

        self._strength, self._before = strength, before
        self._flow: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def __call__(self, source: np.ndarray, made: np.ndarray) -> np.ndarray:
        """The next source and its translation, uint8 or uint16 (H, W, 3) each, to the smoothed translation."""
        small = min(made.shape[:2]) < LEAST_SIDE
        if self._before is not None and self._before[1].shape == made.shape == source.shape and not small:
            made = self._smoothed(source, made, *self._before)
        self._before = source, made
        return made

    def _smoothed(
        self, source: np.ndarray, made: np.ndarray, source_before: np.ndarray, made_before: np.ndarray
    ) -> np.ndarray:
        import cv2

        full = np.iinfo(made.dtype).max
        grey, grey_before = (cv2.cvtColor(to_8_bit(p), cv2.COLOR_RGB2GRAY) for p in (source, source_before))
        back = np.asarray(self._flow.calc(grey, grey_before, None))
        forth = np.asarray(self._flow.calc(grey_before, grey, None))
        change = np.abs(source - moved(source_before, back)).mean(-1) * (255 / full)
        weight = self._strength * np.exp(-((change / CHANGED) ** 2)) * agreeing(back, forth)
        drawn = made + weight[..., None] * (moved(made_before, back) - made)
        return drawn.round().clip(0, full).astype(made.dtype)


def agreeing(back: np.ndarray, forth: np.ndarray) -> np.ndarray:
    """Where two flows (H, W, 2) lead to a place inside the picture and home again, bool (H, W)."""
    height, width = back.shape[:2]
    home = moved(forth, back)
    close, length = ((back + home) ** 2).sum(-1), (back**2).sum(-1) + (home**2).sum(-1)
    x, y = _places(back)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return (close < AGREES[0] * length + AGREES[1]) & inside


def moved(values: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """(H, W, C) as float32, each pixel taken from where the flow (H, W, 2) leads, between pixels by Lanczos."""
    import cv2

    return np.asarray(
        cv2.remap(values.astype(np.float32), *_places(flow), cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT)
    )


def _places(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    height, width = flow.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return x + flow[..., 0], y + flow[..., 1]
