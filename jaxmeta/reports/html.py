"""A page of results that is one file: text, tables and pictures, with nothing to fetch.

Every function returns a piece of HTML; `page` puts pieces under headings. Text is escaped here and
nowhere else.
"""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

STYLE = """
:root { --ink: #1d2430; --soft: #667085; --line: #e4e7ec; --tint: #f7f8fa; --mark: #0b6e4f; }
body { font: 15px/1.55 system-ui, sans-serif; color: var(--ink); margin: 0 auto; max-width: 1080px;
       padding: 2.5rem 1.5rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; }
p.lead { color: var(--soft); margin: 0 0 1rem; max-width: 75ch; }
p.note { color: var(--soft); font-size: .88rem; max-width: 95ch; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem;
        margin: .8rem 0; }
th { text-align: right; font-weight: 600; border-bottom: 2px solid var(--ink);
     padding: .35rem .8rem; }
td { text-align: right; border-bottom: 1px solid var(--line); padding: .35rem .8rem;
     white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: .2rem; }
td:first-child { white-space: normal; min-width: 10rem; }
tr.best td { background: var(--tint); font-weight: 600; }
tr.best td:first-child { color: var(--mark); }
img { max-width: 100%; height: auto; } figure { margin: 1rem 0; }
figcaption { color: var(--soft); font-size: .88rem; }
code, pre { font: .85rem/1.45 ui-monospace, monospace; }
pre { background: var(--tint); border: 1px solid var(--line); border-radius: 6px;
      padding: .8rem 1rem; overflow-x: auto; }
details summary { cursor: pointer; color: var(--soft); } .wide { overflow-x: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; margin: 1rem 0; }
dt { color: var(--soft); } dd { margin: 0; } ul { padding-left: 1.2rem; }
"""


def page(
    title: str, lead: str, facts: Mapping[str, str], sections: Mapping[str, Sequence[str]]
) -> str:
    """Put a page together: a title, what it is about, its facts, and pieces under headings."""
    told = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
    body = "".join(
        f"<section><h2>{escape(heading)}</h2>{''.join(pieces)}</section>\n"
        for heading, pieces in sections.items()
        if pieces
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><h1>{escape(title)}</h1>"
        f'<p class="lead">{escape(lead)}</p><dl>{told}</dl>\n{body}</body></html>\n'
    )


def html_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, best: str | None = None
) -> str:
    """Lay cells out; the row whose first cell is `best` is marked."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join(
        f"<tr{' class=best' if cells[0] == best else ''}>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for cells in rows
    )
    return (
        f'<div class="wide"><table><thead><tr>{top}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def paragraph(text: str) -> str:
    """Write a sentence or more."""
    return f"<p>{escape(text)}</p>"


def note(text: str) -> str:
    """Write what explains a table, smaller."""
    return f'<p class="note">{escape(text)}</p>'


def picture(path: Path, caption: str) -> str:
    """Put a PNG into the page itself."""
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def list_items(items: Sequence[str]) -> str:
    """Write a list."""
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def on_demand(summary: str, pieces: Sequence[str]) -> str:
    """Put pieces that are long where they are shown when asked for."""
    return f"<details><summary>{escape(summary)}</summary>{''.join(pieces)}</details>"


def folded(summary: str, text: str) -> str:
    """Write a long text that is only shown when asked for."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"
