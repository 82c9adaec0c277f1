"""The result of an evaluation as one page that needs nothing beside itself: tables, pictures, curves."""

import base64
import html
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cyclestyle.commands import printable
from cyclestyle.evaluate.curves import curves
from cyclestyle.evaluate.measure import Direction
from cyclestyle.evaluate.table import EXPLAINED, distance_rows, mean_rows
from cyclestyle.files import atomic_write

SHOWN = 4  # pictures of each kind
STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
p.about { margin-top: .2rem; opacity: .75; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child, td.remark { text-align: left; } td.remark { opacity: .7; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(26rem, 1fr)); gap: 1rem; }
figure { margin: 0; padding: .6rem; background: var(--soft); border-radius: .4rem; }
figure div { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; gap: .3rem; }
figure img { width: 100%; display: block; }
figcaption { font-size: .8rem; opacity: .8; overflow-wrap: anywhere; margin-top: .3rem; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem; } svg { background: var(--soft); border-radius: .4rem; }
pre { background: var(--soft); padding: 1rem; overflow: auto; font-size: .8rem; }
"""


def write_page(
    path: Path, told: Mapping[str, Any], directions: Mapping[str, Direction], metrics: list[dict[str, Any]]
) -> None:
    """Write the page.

    Args:
        told: the protocol.
        directions: what was measured.
        metrics: entries of the run's metrics.jsonl, if there is one.
    """
    first = next(iter(directions.values()))
    title = f"{first.source} and {first.target}: {told['model']['path']}"
    counts = " and ".join(
        f"{count} {name}" for count, name in zip(told["data"]["counts"].values(), told["model"]["names"], strict=True)
    )
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p class=about>step {told['model']['step']}, measured on {html.escape(counts)} pictures "
        f"({told['data']['split']}), {html.escape(told['data']['size'])}; {told['date']}</p>",
        *(_direction(one) for one in directions.values()),
    ]
    drawn = curves(metrics)
    if drawn:
        parts.append(f"<h2>The run</h2><div class=charts>{''.join(drawn)}</div>")
    parts.append(f"<h2>How it was measured</h2><pre>{html.escape(json.dumps(told, indent=2))}</pre>")
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>"
        f"<meta name=viewport content='width=device-width'><style>{STYLE}</style><body>{''.join(parts)}</body></html>"
    )
    with atomic_write(path) as file:
        file.write(printable(page).encode())


def _direction(one: Direction) -> str:
    head = ("", "value", "95 %", "floor", "ceiling", "excess", "95 %")
    order_of_content, order_of_style = np.argsort(-one.each["edge_f"]), np.argsort(-one.each["style"])
    shown = min(SHOWN, len(one.paths) // 2)
    parts = [
        f"<h2>{html.escape(one.source)} to {html.escape(one.target)}</h2>",
        _table([head, *distance_rows(one)]),
        f"<p>{html.escape(EXPLAINED)}.</p>",
        _table([("", "mean", ""), *mean_rows(one)]),
    ]
    for name, order, meaning in (
        ("style", order_of_style, "how much nearer to real pictures of the target than to untranslated ones"),
        ("content", order_of_content, "whether the edges are those of the source (F-score)"),
    ):
        parts.append(f"<h3>Best by {name}</h3><p class=about>{meaning}</p>{_gallery(one, order[:shown])}")
        parts.append(f"<h3>Worst by {name}</h3>{_gallery(one, order[::-1][:shown])}")
    return "".join(parts)


def _table(rows: list[tuple[str, ...]]) -> str:
    lines = []
    for number, row in enumerate(rows):
        tag = "td" if number else "th"
        cells = [f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row]
        if number and len(row) == 3:
            cells[2] = f"<td class=remark>{html.escape(row[2])}</td>"
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _gallery(one: Direction, which: np.ndarray) -> str:
    figures = []
    for i in which:
        shown = ((one.sources, "source"), (one.fakes, "translation"), (one.recs, "back again"))
        pictures = "".join(_image(pictures[i], title) for pictures, title in shown)
        told = f"{one.paths[i].name}: edges {one.each['edge_f'][i]:.2f}, style {one.each['style'][i]:+.2f}"
        figures.append(f"<figure><div>{pictures}</div><figcaption>{html.escape(told)}</figcaption></figure>")
    return f"<div class=gallery>{''.join(figures)}</div>"


def _image(picture: np.ndarray, title: str) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    return f"<img title='{title}' alt='{title}' src='data:image/png;base64,{data}'>"
