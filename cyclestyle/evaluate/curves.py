"""Curves of a run as inline SVG, from the entries of its metrics.jsonl."""

import html
import math
from collections.abc import Mapping
from typing import Any

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 520, 250, 52, 12, 30, 42
COLOURS = ("#3b7dd8", "#d1662b", "#3a9d5d", "#a14fb8", "#b8960c", "#777777")
CHARTS = {
    "Distance to real pictures (excess)": ("quality/score", "quality/kid_random_", "quality/swd_"),
    "Content kept": ("quality/edge_f_", "quality/structure_"),
    "Adversarial losses": ("loss/adversarial_", "loss/disc_"),
    "Cycle and identity losses": ("loss/cycle_", "loss/back_translation_", "loss/identity_", "loss/flat_"),
    "Steepness of the discriminators": ("loss/steepness_", "loss/pink_steepness_"),
    "Scores of the discriminators": ("score/",),
    "Learning rate": ("train/learning_rate",),
}


def curves(metrics: list[dict[str, Any]]) -> list[str]:
    """A chart for each group of numbers that a run has written."""
    found = []
    for title, starts in CHARTS.items():
        names = sorted({n for entry in metrics for n in entry if n.startswith(starts)})
        series = {
            name.partition("/")[2]: [(e["step"], e[name]) for e in metrics if isinstance(e.get(name), (int, float))]
            for name in names
        }
        series = {name: [p for p in points if math.isfinite(p[1])] for name, points in series.items()}
        if any(len(points) > 1 for points in series.values()):
            found.append(chart(title, series))
    return found


def chart(title: str, series: Mapping[str, list[tuple[float, float]]]) -> str:
    """Lines over steps, with axes and a legend.

    Args:
        series: points (step, value) by name.
    """
    points = [p for line in series.values() for p in line]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    ticks = _ticks(min(y for _, y in points), max(y for _, y in points))
    low, high = ticks[0], ticks[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - RIGHT) * ((x - left) / (right - left) if right > left else 0.5)
        return across, HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (y - low) / (high - low)

    parts = [f"<text x={LEFT} y=18 font-size=13 font-weight=600 fill=currentColor>{html.escape(title)}</text>"]
    for tick in ticks:
        _, y = place(left, tick)
        parts.append(f"<line x1={LEFT} x2={WIDTH - RIGHT} y1={y:.1f} y2={y:.1f} stroke=#8884 />")
        parts.append(_label(f"{tick:g}", LEFT - 6, y + 4, "end"))
    for step, anchor in ((left, "start"), (right, "end")):
        parts.append(_label(f"{step:g}", place(step, low)[0], HEIGHT - BOTTOM + 14, anchor))
    at = float(LEFT)
    for (name, line), colour in zip(series.items(), COLOURS * len(series), strict=False):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*p) for p in line))
        parts.append(f"<polyline points='{path}' fill=none stroke='{colour}' stroke-width=1.6 />")
        parts.append(f"<rect x={at:.0f} y={HEIGHT - 16} width=10 height=3 fill='{colour}' />")
        parts.append(_label(name, at + 14, HEIGHT - 11, "start"))
        at += 22 + 6.2 * len(name)
    width = max(WIDTH, at + RIGHT)
    return f"<svg role=img width={width:.0f} height={HEIGHT}>{''.join(parts)}</svg>"


def _label(text: str, x: float, y: float, anchor: str) -> str:
    return f"<text x={x:.1f} y={y:.1f} font-size=11 text-anchor={anchor} fill=currentColor>{html.escape(text)}</text>"


def _ticks(low: float, high: float) -> list[float]:
    """Four to seven round numbers that enclose a range."""
    span = high - low or abs(high) or 1.0
    step = 10 ** math.floor(math.log10(span / 4))
    step *= next(m for m in (1, 2, 5, 10) if span / (m * step) <= 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [i * step for i in range(first, max(last, first + 1) + 1)]
