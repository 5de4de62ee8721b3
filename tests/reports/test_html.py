"""A page that is one file: everything escaped, pictures inside, nothing fetched."""

import re
from html.parser import HTMLParser

from jaxmeta.reports import html


class Reader(HTMLParser):
    """Collect what tags open and close, and the text of cells."""

    def __init__(self):
        super().__init__()
        self.open, self.cells, self.marked = [], [], 0

    def handle_starttag(self, tag, attrs):
        self.marked += ("class", "best") in attrs
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def read(text):
    reader = Reader()
    reader.feed(text)
    assert not reader.open
    return reader


def made(tmp_path):
    (tmp_path / "p.png").write_bytes(b"\x89PNG")
    return html.page(
        "a <b> & c",
        "about",
        {"run": "x<y>"},
        {
            "Table": [
                html.html_table(["", "Dice"], [["<ours>", ".5"], ["theirs", ".4"]], best="<ours>")
            ],
            "Picture": [html.picture(tmp_path / "p.png", 'the "best"'), html.note("n")],
            "Empty": [],
            "Rest": [
                html.list_items(["one", "<two>"]),
                html.folded("more", "{}"),
                html.paragraph("p"),
            ],
        },
    )


def test_tags_are_closed_and_text_is_escaped(tmp_path):
    text = made(tmp_path)
    reader = read(text)
    assert reader.cells == ["", "Dice", "<ours>", ".5", "theirs", ".4"]
    assert reader.marked == 1
    for raw in ("<b>", "x<y>", "<ours>", "<two>"):
        assert raw not in text


def test_nothing_is_fetched_and_empty_sections_are_left_out(tmp_path):
    text = made(tmp_path)
    assert not re.search(r"https?://|src=\"(?!data:)|<link|<script|@import", text)
    assert "data:image/png;base64,iVBORw==" in text
    assert "<h2>Picture</h2>" in text and "Empty" not in text
