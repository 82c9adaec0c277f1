"""What the machine could do: the rate of its best convolution, and the time of a step's convolutions alone."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from timing import interleave
from torch import Tensor, nn

LAYOUTS = (torch.contiguous_format, torch.channels_last)


@dataclass(frozen=True)
class Convolution:
    """A convolution of a step, and which gradients are asked of it."""

    shape: tuple[int, ...]  # of the input, padded already where padding is by reflection
    weight: tuple[int, ...]
    stride: int
    padding: int
    output_padding: int
    transposed: bool
    grad_input: bool
    grad_weight: bool

    def flops(self) -> int:
        """Multiplications and additions, forward and the gradients that are asked for."""
        batch, _, height, width = self.shape
        side = self.weight[2]
        if not self.transposed:
            height, width = ((n + 2 * self.padding - side) // self.stride + 1 for n in (height, width))
        once = 2 * batch * height * width * self.weight[0] * self.weight[1] * side * side
        return once * (1 + self.grad_input + self.grad_weight)

    def prepare(self, device: torch.device, dtype: torch.dtype, layout: torch.memory_format) -> "_Alone":
        return _Alone(self, device, dtype, layout)


class _Alone:
    """A convolution with random numbers, to be called again and again."""

    def __init__(self, conv: Convolution, device: torch.device, dtype: torch.dtype, layout: torch.memory_format):
        def random(shape: tuple[int, ...]) -> Tensor:
            return torch.randn(shape, device=device).to(dtype).contiguous(memory_format=layout)

        self._conv = conv
        self._x = random(conv.shape).requires_grad_(conv.grad_input)
        self._w = random(conv.weight).requires_grad_(conv.grad_weight)
        self._wanted = [t for t in (self._x, self._w) if t.requires_grad]
        self._back = random(tuple(self._forward().shape))

    def _forward(self) -> Tensor:
        c = self._conv
        if c.transposed:
            return F.conv_transpose2d(self._x, self._w, None, c.stride, c.padding, c.output_padding)
        return F.conv2d(self._x, self._w, None, c.stride, c.padding)

    def __call__(self) -> None:
        y = self._forward()
        if self._wanted:
            torch.autograd.grad(y, self._wanted, self._back)


def best_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP a second of a 3x3, 256 -> 256 convolution at 64x64, forward: the best layout, the best batch of 1 to 4."""
    rates = []
    for batch in (1, 2, 3, 4):
        conv = Convolution((batch, 256, 64, 64), (256, 256, 3, 3), 1, 1, 0, False, False, False)
        rates.append(conv.flops() / _fastest(conv, device, dtype, rounds=5, seconds=0.1))
    return max(rates)


def convolutions(model: nn.Module, batch: int, side: int, identity: bool) -> Counter[Convolution]:
    """All convolutions of a training step of a CycleGAN, with how often each is done."""
    of_a_pass = {name: _of_a_pass(net, batch, side) for name, net in model.named_children()}
    found: Counter[Convolution] = Counter()
    for name, convs in of_a_pass.items():
        if name.startswith("gen"):
            from_data, from_fake = 1 + identity, 1  # passes a step, of each generator
            for first, conv in convs:
                found[_with(conv, grad_input=not first, grad_weight=True)] += from_data
                found[_with(conv, grad_input=True, grad_weight=True)] += from_fake
        else:
            for first, conv in convs:
                found[_with(conv, grad_input=True, grad_weight=False)] += 1  # under the generators
                found[_with(conv, grad_input=not first, grad_weight=True)] += 2  # on real and on fake
    return found


def time_alone(convs: Counter[Convolution], device: torch.device, dtype: torch.dtype) -> float:
    """Seconds of all those convolutions, one after the other, each in its best layout."""
    return sum(count * _fastest(conv, device, dtype, rounds=3, seconds=0.02) for conv, count in convs.items())


def _fastest(conv: Convolution, device: torch.device, dtype: torch.dtype, rounds: int, seconds: float) -> float:
    """Seconds of a convolution in its best layout."""
    candidates: dict[str, Callable[[], None]] = {str(layout): conv.prepare(device, dtype, layout) for layout in LAYOUTS}
    repeats = 1
    if device.type == "cuda":
        repeats = 20
        candidates = {name: _recorded(work, repeats) for name, work in candidates.items()}
    times = interleave(candidates, device, rounds, seconds)
    return min(t.median for t in times.values()) / repeats


def _recorded(work: Callable[[], None], repeats: int) -> Callable[[], None]:
    """Work of a GPU that takes longer to launch than to run, many times in one CUDA graph."""
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        for _ in range(3):  # libraries choose their kernels
            work()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        for _ in range(repeats):
            work()
    return graph.replay


def _of_a_pass(net: nn.Module, batch: int, side: int) -> list[tuple[bool, Convolution]]:
    convs: list[tuple[bool, Convolution]] = []

    def record(module: nn.Module, inputs: tuple[Tensor, ...], _: object) -> None:
        assert isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))
        shape, padding = list(inputs[0].shape), int(module.padding[0])
        if module.padding_mode != "zeros":
            shape[2:], padding = [n + 2 * padding for n in shape[2:]], 0
        more = int(module.output_padding[0])
        transposed = isinstance(module, nn.ConvTranspose2d)
        weight, stride = tuple(module.weight.shape), int(module.stride[0])
        conv = Convolution(tuple(shape), weight, stride, padding, more, transposed, False, False)
        convs.append((not convs, conv))

    hooks = [m.register_forward_hook(record) for m in net.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    with torch.no_grad():
        net(torch.zeros(batch, 3, side, side, device=next(net.parameters()).device))
    for hook in hooks:
        hook.remove()
    return convs


def _with(conv: Convolution, grad_input: bool, grad_weight: bool) -> Convolution:
    return replace(conv, grad_input=grad_input, grad_weight=grad_weight)
