"""Networks: sizes, parameter counts, gradients in every layout, and options that agree with the configuration."""

import inspect
from itertools import product
from typing import Any, get_args

import pytest
import torch
from torch import nn

from cyclestyle.config import ModelConfig
from cyclestyle.data.synthetic import draw_photo
from cyclestyle.images import to_tensor
from cyclestyle.metrics.paired import correlation
from cyclestyle.nets import DISCRIMINATORS, GENERATORS, init_weights
from cyclestyle.nets.layers import ReflectConv, _pad, make_norm
from cyclestyle.nets.winograd import winograd_conv
from tests.helpers import errors_of_gradients, landscapes, relative_error

LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_default_networks_have_the_size_of_the_paper() -> None:
    assert count(GENERATORS["resnet"]()) == 11_378_179
    assert count(DISCRIMINATORS["patchgan"]()) == 2_764_737


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("upsample", ["transpose", "resize", "bilinear"])
@pytest.mark.parametrize(
    "options", [{"norm": "instance"}, {"norm": "group", "skips": True}, {"norm": "none"}, {"anchored": True}]
)
def test_generators_keep_size_and_range(name: str, upsample: str, options: dict[str, Any]) -> None:
    net = GENERATORS[name](channels=8, blocks=1, upsample=upsample, **options)
    out = net(torch.rand(2, 3, 3 * net.stride + net.stride * 6, 8 * net.stride) * 2 - 1)
    assert out.shape == (2, 3, 9 * net.stride, 8 * net.stride)
    assert out.abs().max() <= 1
    assert out.dtype == torch.float32


@pytest.mark.parametrize("skips", [False, True])
def test_an_anchored_generator_begins_with_dark_as_dark_whatever_the_seed(skips: bool) -> None:
    picture = to_tensor(landscapes(draw_photo, 0, 1, 64))
    alike: dict[bool, list[float]] = {False: [], True: []}
    for anchored, seed in product((False, True), range(8)):
        torch.manual_seed(seed)
        net = GENERATORS["resnet"](16, 1, upsample="bilinear", norm="group", skips=skips, anchored=anchored)
        init_weights(net)
        with torch.no_grad():
            alike[anchored].append(float(correlation(net(picture), picture)))
    assert min(alike[True]) > 0.2
    assert min(alike[False]) < 0


@pytest.mark.parametrize("padding", ["zeros", "reflect"])
def test_with_reflection_a_plain_picture_has_no_rim(padding: str) -> None:
    torch.manual_seed(0)
    net = GENERATORS["resnet"](channels=8, blocks=1, upsample="bilinear", norm="none", padding=padding)
    with torch.no_grad():
        out = net(torch.full((1, 3, 32, 32), 0.7))
    assert (float(out.std((2, 3)).max()) < 1e-5) == (padding == "reflect")


def test_skips_lead_detail_past_the_blocks() -> None:
    """A stripe a pixel wide is gone at a quarter of the resolution; only skips can carry it."""
    stripes = torch.ones(1, 3, 32, 32)
    stripes[..., ::2] = -1
    for skips in (False, True):
        net = GENERATORS["resnet"](channels=8, blocks=1, upsample="bilinear", norm="none", skips=skips)
        with torch.no_grad():
            for conv in net.up.modules():  # nothing comes from below
                if isinstance(conv, nn.Conv2d):
                    conv.weight.zero_()
                    conv.bias.zero_()
            out = net(stripes)
        assert (out.std((2, 3)).max() > 1e-3) == skips


@pytest.mark.parametrize(("layers", "scale", "size"), [(1, 0, 16), (2, 0, 34), (3, 0, 70), (4, 0, 142), (2, 2, 136)])
def test_a_patch_logit_sees_as_many_pixels_as_stated(layers: int, scale: int, size: int) -> None:
    net = DISCRIMINATORS["patchgan"](channels=4, layers=layers, norm="none", scales=scale + 1)
    picture = torch.zeros(1, 3, 512, 512, requires_grad=True)
    *_, logits = net(picture)
    middle = logits.shape[-1] // 2
    logits[0, 0, middle, middle].backward()
    assert picture.grad is not None
    seen = picture.grad.abs().sum((0, 1)).nonzero()
    assert (seen.max(0).values - seen.min(0).values + 1).tolist() == [size, size]


def test_networks_of_a_discriminator_keep_to_their_resolution() -> None:
    net = DISCRIMINATORS["patchgan"](channels=4, layers=1, norm="none", scales=3)
    picture = torch.rand(1, 3, 64, 64)
    whole = net(picture)
    for halvings, judged in ((1, whole[1:]), (2, whole[2:])):
        small = nn.functional.avg_pool2d(picture, 2**halvings)
        for logits, expected in zip(net(small, halvings), judged, strict=True):
            torch.testing.assert_close(logits, expected)
    assert len(net(nn.functional.avg_pool2d(picture, 8), 3)) == 1


def test_a_pixel_logit_sees_one_pixel() -> None:
    net = DISCRIMINATORS["pixel"](channels=4, norm="none")
    picture = torch.zeros(1, 3, 8, 8, requires_grad=True)
    [logits] = net(picture)
    logits[0, 0, 3, 5].backward()
    assert picture.grad is not None
    assert picture.grad.abs().sum((0, 1)).nonzero().tolist() == [[3, 5]]


@pytest.mark.parametrize("name", ["instance", "group"])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("gradient_layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norm_and_its_gradient_equal_float64(
    name: str, batch: int, layout: str, gradient_layout: str, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    x = torch.randn(batch, 32, 9, 11).to(dtype)
    g = torch.randn(batch, 32, 9, 11).to(dtype)
    results = []
    for kind, x_layout, g_layout in ((dtype, layout, gradient_layout), (torch.float64, "nchw", "nchw")):
        leaf = x.to(kind, memory_format=LAYOUTS[x_layout], copy=True).requires_grad_()
        out = (
            make_norm(name, 32)(leaf)
            if kind == dtype
            else nn.functional.group_norm(leaf, 32 if name == "instance" else 2)
        )
        out.backward(g.to(kind, memory_format=LAYOUTS[g_layout]))
        assert leaf.grad is not None
        results += [out.detach().double(), leaf.grad.double()]
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    assert (results[0] - results[2]).abs().max() < tolerance
    assert (results[1] - results[3]).abs().max() < tolerance


@pytest.mark.parametrize("more", [1, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_padding_on_a_gpu_reflects(more: int, layout: str) -> None:
    x = torch.rand(2, 3, 5, 7).contiguous(memory_format=LAYOUTS[layout]).requires_grad_()
    y, expected = _pad(x, more), nn.functional.pad(x, (more, more, more, more), mode="reflect")
    assert torch.equal(y, expected)
    grad = torch.randn_like(y)
    [found], [exact] = (torch.autograd.grad(padded, x, grad) for padded in (y, expected))
    assert torch.allclose(found, exact, atol=1e-6)
    assert found.is_contiguous(memory_format=LAYOUTS[layout])


@pytest.mark.parametrize(
    ("channels", "outs", "side", "stride", "pixels"),
    [(32, 3, 7, 1, 20), (128, 128, 3, 1, 64), (8, 16, 3, 1, 20), (128, 128, 3, 2, 64)],
    ids=["by columns", "winograd", "direct", "strided"],
)
def test_a_reflecting_convolution_is_that_of_pytorch(
    channels: int, outs: int, side: int, stride: int, pixels: int
) -> None:
    torch.manual_seed(0)
    ours, theirs = ReflectConv(channels, outs, side, stride), nn.Conv2d(channels, outs, side, stride).double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(1, channels, pixels, pixels, requires_grad=True)
    more = side // 2
    y, exact = ours(x), theirs(nn.functional.pad(x.double(), (more, more, more, more), mode="reflect"))
    g = torch.randn_like(y)
    found = torch.autograd.grad(y, [x, *ours.parameters()], g)
    expected = torch.autograd.grad(exact, [x, *theirs.parameters()], g.double())
    assert relative_error(y, exact) < 1e-5
    assert all(relative_error(*pair) < 1e-5 for pair in zip(found, expected, strict=True))


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("height", [8, 11])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 0.013)])
def test_winograd_and_its_gradients_equal_float64(
    batch: int, layout: str, height: int, dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(0)
    x = torch.randn(batch, 24, height + 2, 9).to(dtype, memory_format=LAYOUTS[layout]).requires_grad_()
    weight, bias = torch.randn(16, 24, 3, 3, requires_grad=True), torch.randn(16, requires_grad=True)
    leaves = (x, weight, bias)
    y = winograd_conv(*leaves)
    g = torch.randn_like(y)
    exact_leaves = [leaf.detach().double().requires_grad_() for leaf in leaves]
    exact = nn.functional.conv2d(*exact_leaves)
    assert y.dtype == dtype
    assert relative_error(y, exact) < tolerance
    gradients, exact_gradients = torch.autograd.grad(y, leaves, g), torch.autograd.grad(exact, exact_leaves, g.double())
    assert all(relative_error(*pair) < tolerance for pair in zip(gradients, exact_gradients, strict=True))


@pytest.mark.parametrize("batch", [1, pytest.param(2, marks=pytest.mark.long)])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("channels", "side", "dtype", "tolerance"),
    [(4, 32, torch.float32, 1e-3), (32, 256, torch.float32, 5e-3), (32, 256, torch.bfloat16, 0.3)],
    ids=["narrow", "wide", "wide bf16"],
)
def test_generator_gradients_equal_float64(
    batch: int, layout: str, channels: int, side: int, dtype: torch.dtype, tolerance: float
) -> None:
    """The wide one takes every fast path of the CPU. Tolerances allow for ReLUs that switch by rounding."""
    errors = errors_of_gradients(channels, (batch, 3, side, side), LAYOUTS[layout], torch.device("cpu"), dtype)
    assert all(error < tolerance for error in errors.values()), errors


def test_weights_start_as_in_the_paper() -> None:
    net = GENERATORS["resnet"](channels=32, blocks=1)
    init_weights(net)
    weights = torch.cat([p.detach().flatten() for p in net.parameters() if p.ndim == 4])
    assert float(weights.std()) == pytest.approx(0.02, rel=0.02)
    assert weights.mean().abs() < 1e-3
    assert all(bool((p == 0).all()) for p in net.parameters() if p.ndim == 1)


def spec_of(table: dict[str, Any], field: str) -> list[tuple[str, Any]]:
    annotation = ModelConfig.model_fields[field].annotation
    specs = {t.model_fields["name"].default: t for t in (get_args(annotation) or (annotation,))}
    assert specs.keys() == table.keys()
    return [(name, specs[name]) for name in table]


@pytest.mark.parametrize(("table", "field"), [(GENERATORS, "generator"), (DISCRIMINATORS, "discriminator")])
def test_options_in_the_configuration_are_the_keywords_of_the_class(table: dict[str, Any], field: str) -> None:
    for name, spec in spec_of(table, field):
        keywords = {p.name: p.default for p in inspect.signature(table[name]).parameters.values()}
        options = {key: f.default for key, f in spec.model_fields.items() if key != "name"}
        assert options == keywords


def test_a_compiler_meets_no_hook() -> None:
    """PyTorch 2.11 fails on one."""
    net, picture, seen = GENERATORS["resnet"](channels=4, blocks=1), torch.rand(1, 3, 32, 32) * 2 - 1, []

    def compiler(graph: torch.fx.GraphModule, _: Any) -> Any:
        seen.append(graph.code)
        return graph.forward

    expected = net(picture)
    net.compile(backend=compiler, fullgraph=True)
    torch.testing.assert_close(net(picture), expected, rtol=0, atol=1e-5)
    assert "group_norm" in seen[0]
    assert "hook" not in seen[0]
