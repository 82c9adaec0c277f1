"""Work of a GPU that is recorded once and replayed (CUDA graphs)."""

import gc
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
EAGER_CALLS = 3  # in which libraries choose their kernels, and optimisers make their state


class Recorded:
    """A function of tensors of fixed sizes that does the same work each time.

    The first calls run as they are; then the work is recorded, and from there on replayed. What a call returns is
    overwritten by the next.

    Args:
        stream: where the first calls run and the recording is made; one for all that share weights.
        pool: `torch.cuda.graph_pool_handle()`, where the recording has its memory; one for all that take turns.
    """

    def __init__(self, stream: torch.cuda.Stream, pool: Any) -> None:
        self._stream, self._pool = stream, pool
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: tuple[Tensor, ...] = ()

    def __call__(self, function: Callable[..., T], *inputs: Tensor) -> T:
        """Call the function, which is the same each time."""
        self._calls += 1
        if self._calls <= EAGER_CALLS:
            return self._run(function, inputs)
        if self._graph is None:
            self._record(function, inputs)
        for kept, new in zip(self._inputs, inputs, strict=True):
            kept.copy_(new)
        assert self._graph is not None
        self._graph.replay()
        outputs: T = self._outputs
        return outputs

    def _run(self, function: Callable[..., T], inputs: tuple[Tensor, ...]) -> T:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            outputs = function(*inputs)
        torch.cuda.current_stream().wait_stream(self._stream)
        return outputs

    def _record(self, function: Callable[..., T], inputs: tuple[Tensor, ...]) -> None:
        self._inputs = tuple(x.clone() for x in inputs)
        torch.cuda.synchronize()
        gc.collect()  # an older recording must not go in the middle of this one
        torch.cuda.empty_cache()  # what the first calls took; the recording has memory of its own
        self._graph = torch.cuda.CUDAGraph()
        # Threads of the loader may pin memory meanwhile, hence the mode.
        with torch.cuda.graph(self._graph, self._pool, self._stream, capture_error_mode="thread_local"):
            self._outputs: Any = function(*self._inputs)
