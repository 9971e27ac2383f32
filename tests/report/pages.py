"""An HTML page taken apart, for the tests of the report."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser

VOID = frozenset({"meta", "wbr", "br", "img", "link", "hr"})


class Page(HTMLParser):
    """Counts tags, collects what a test asks for, and fails on tags that are not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.classes: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.addresses: list[str] = []
        self.headings: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag in {"h1", "h2"}:
            self.headings.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            self.attributes.add(name)
            if name in {"src", "href"}:
                self.addresses.append(str(value))
            if name == "class":
                self.classes.update(str(value).split())

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] in {"h1", "h2"}:
            self.headings[-1] += data


def read(text: str) -> Page:
    """Parses a page; every tag must be closed."""
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    return page
