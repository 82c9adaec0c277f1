"""The result of an evaluation as text."""

from collections.abc import Mapping
from typing import NamedTuple

from cyclestyle.evaluate.measure import Direction


class Meaning(NamedTuple):
    """What a measure is called and which way it gets better."""

    title: str
    better: str


DISTANCES = {
    "fid": Meaning("FID, Inception", "lower"),
    "kid": Meaning("KID, Inception", "lower"),
    "kid_random": Meaning("KID, random features", "lower"),
    "swd": Meaning("sliced Wasserstein, all scales", "lower"),
    "colour": Meaning("colour (L*, a*, b*)", "lower"),
}
MEANS = {
    "edge_f": Meaning("edges kept, F-score", "higher"),
    "structure": Meaning("light and dark kept (SSIM's structure)", "higher"),
    "correlation": Meaning("brightness pattern, correlation", "-1: inverted"),
    "change": Meaning("change to the source (0 to 1)", "near 0: nothing is translated"),
    "droplets": Meaning("droplets a picture", "lower"),
    "cycle_l1": Meaning("there and back: error (0 to 255)", "lower"),
    "cycle_psnr": Meaning("there and back: PSNR in dB", "higher"),
    "cycle_ssim": Meaning("there and back: SSIM", "higher"),
    "truth_psnr": Meaning("to the true picture, PSNR in dB", "higher"),
    "truth_ssim": Meaning("to the true picture, SSIM", "higher"),
}
EXPLAINED = (
    "floor: as many real training pictures; ceiling: untranslated pictures; excess: 0 is as near as real ones, 1 no "
    "nearer than untranslated, - where so few pictures cannot tell floor from ceiling"
)


def title_of(name: str) -> str:
    """What a distance is called; those of single scales by their pixels."""
    if name.startswith("swd_"):
        return f"sliced Wasserstein, {name.removeprefix('swd_')} pixels"
    return DISTANCES[name].title


def distance_rows(one: Direction) -> list[tuple[str, ...]]:
    """Title, value, interval, floor, ceiling, excess and interval of every distance."""
    return [
        (
            title_of(name),
            _number(m.value.value),
            f"{_number(m.value.low)} to {_number(m.value.high)}",
            _number(m.floor),
            _number(m.ceiling),
            *(
                ("-", "-")
                if m.excess is None
                else (f"{m.excess.value:.2f}", f"{m.excess.low:.2f} to {m.excess.high:.2f}")
            ),
        )
        for name, m in one.distances.items()
    ]


def mean_rows(one: Direction) -> list[tuple[str, ...]]:
    """Title, value and remark of everything else."""
    known = [(m, one.each[name]) for name, m in MEANS.items() if name in one.each]
    rows: list[tuple[str, ...]] = [(m.title, _number(float(values.mean())), m.better) for m, values in known]
    fake, real = one.means["fake"], one.means["real"]
    for stride in (2, 4):
        name = f"checkerboard_{stride}"
        rise = fake[name] - real[name]
        rows.append(
            (
                f"checkerboard of {stride} pixels, dB",
                f"{rise:+z.1f}",
                f"above real {one.target} pictures; over 4 can be seen",
            )
        )
    for letter, title in (("L", "lightness L*"), ("a", "green to red a*"), ("b", "blue to yellow b*")):
        told = [f"{m[f'{letter}_mean']:z.0f} +-{m[f'{letter}_std']:.0f}" for m in (fake, real, one.means["source"])]
        rows.append((title, told[0], f"real {one.target}: {told[1]}; {one.source}: {told[2]}"))
    if one.precision is not None and one.recall is not None:
        rows.append(("precision, Inception", f"{one.precision:.2f}", "higher"))
        rows.append(("recall, Inception", f"{one.recall:.2f}", "higher"))
    return rows


def table(directions: Mapping[str, Direction]) -> str:
    """Both directions, for a terminal."""
    blocks = []
    for one in directions.values():
        head = (f"{one.source} to {one.target}", "value", "95 %", "floor", "ceiling", "excess", "95 %")
        blocks.append(_aligned([head, *distance_rows(one)]) + "\n\n" + _aligned(mean_rows(one)))
    return "\n\n".join([*blocks, EXPLAINED])


def _aligned(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *cells = row
        last = cells.pop() if len(row) == 3 else ""  # a remark
        shifted = [cell.rjust(w) for cell, w in zip(cells, widths[1:], strict=False)]
        lines.append("  ".join([first.ljust(widths[0]), *shifted, last]).rstrip())
    return "\n".join(lines)


def _number(value: float) -> str:
    """Three digits that matter."""
    if abs(value) < 0.1:
        return f"{value + 0.0:.3g}"
    return f"{value:.{0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2}f}"
