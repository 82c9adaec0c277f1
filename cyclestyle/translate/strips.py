"""Work on large pictures strip by strip, so that it takes little memory."""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from cyclestyle.images import to_pixels, to_tensor

ROWS = 64  # of a strip: what is computed of them stays in the processor's cache


def by_strips(function: Callable[..., Tensor], margin: int, *pictures: np.ndarray) -> np.ndarray:
    """What a function makes of pictures of one size.

    Args:
        function: of float (1, 3, h, W) in [-1, 1], one for each picture, to the same.
        margin: rows beyond a row that its result depends on.
        pictures: uint8 or uint16 (H, W, 3), all of the last one's type.

    Returns:
        uint8 or uint16 (H, W, 3), as the last picture.
    """
    height, rows = pictures[-1].shape[0], max(ROWS, 4 * margin)
    made = np.empty_like(pictures[-1])
    for top in range(0, height, rows):
        first, last = max(0, top - margin), min(height, top + rows + margin)
        result = function(*(to_tensor(picture[first:last]) for picture in pictures))
        end = min(height, top + rows)
        made[top:end] = to_pixels(result[:, :, top - first : end - first], made.dtype)[0]
    return made
