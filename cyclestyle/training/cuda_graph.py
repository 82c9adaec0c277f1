"""Work of a GPU that is recorded once and replayed (CUDA graphs)."""

from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
EAGER_CALLS = 3  # in which libraries choose their kernels, and optimisers make their state


class Recorded(Generic[T]):
    """A function of tensors of fixed sizes that does the same work each time.

    The first calls run as they are; then the work is recorded, and from there on replayed. What a call returns is
    overwritten by the next.

    Args:
        stream: where the first calls run and the recording is made; one for all that share weights.
    """

    def __init__(self, function: Callable[..., T], stream: torch.cuda.Stream) -> None:
        self._function, self._stream = function, stream
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: tuple[Tensor, ...] = ()

    def __call__(self, *inputs: Tensor) -> T:
        self._calls += 1
        if self._calls <= EAGER_CALLS:
            return self._run(inputs)
        if self._graph is None:
            self._record(inputs)
        for kept, new in zip(self._inputs, inputs, strict=True):
            kept.copy_(new)
        assert self._graph is not None
        self._graph.replay()
        return self._outputs

    def _run(self, inputs: tuple[Tensor, ...]) -> T:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            outputs = self._function(*inputs)
        torch.cuda.current_stream().wait_stream(self._stream)
        return outputs

    def _record(self, inputs: tuple[Tensor, ...]) -> None:
        self._inputs = tuple(x.clone() for x in inputs)
        torch.cuda.synchronize()
        torch.cuda.empty_cache()  # what the first calls took; the recording has memory of its own
        self._graph = torch.cuda.CUDAGraph()
        # Threads of the loader may pin memory meanwhile, hence the mode.
        with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
            self._outputs = self._function(*self._inputs)
