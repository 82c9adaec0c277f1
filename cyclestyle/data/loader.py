"""Batches, prepared ahead by threads: decoding, resizing and augmenting leave Python's lock for most of their time."""

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from torch import Tensor

from cyclestyle.data.unpaired import UnpairedData
from cyclestyle.images import to_tensor

Batch = tuple[Tensor, Tensor]


def batches(
    data: UnpairedData, first: int, batch_size: int, workers: int, pin: bool = False
) -> Generator[Batch, None, None]:
    """Batches of A and B from sample number `first` on, without end: float (B, 3, H, W) in [-1, 1] each.

    The number of workers changes the speed alone; with `pin` a GPU can fetch them while it computes.
    """

    def make(number: int) -> Batch:
        pairs = [data.sample(number + i) for i in range(batch_size)]
        a, b = zip(*pairs, strict=True)
        batch = to_tensor(np.stack(a)), to_tensor(np.stack(b))
        return (batch[0].pin_memory(), batch[1].pin_memory()) if pin else batch

    if workers == 0:
        while True:
            yield make(first)
            first += batch_size
    pool = ThreadPoolExecutor(workers, thread_name_prefix="loader")
    ahead: deque[Future[Batch]] = deque()
    try:
        while True:
            while len(ahead) < 2 * workers:
                ahead.append(pool.submit(make, first))
                first += batch_size
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
