from __future__ import annotations

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from tvmkd.report import environment


def test_every_template_escapes_text_and_leaves_markup() -> None:
    made = environment.environment()
    assert sorted(made.list_templates()) == [
        "base.html",
        "fleet.html",
        "parts.html",
        "pruning.html",
        "report.html",
        "search.css",
        "search.html",
        "search.js",
        "search_plot.html",
        "style.css",
        "training.css",
        "training.html",
    ]
    shown = made.from_string("{{ text }}{{ markup }}").render(text="<&>", markup=Markup("<p>"))
    assert shown == "&lt;&amp;&gt;<p>"


def test_a_variable_that_is_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="lead"):
        environment.render("pruning.html", title="t", chart="")


def test_a_legend_is_escaped() -> None:
    found = environment.legend([("css", "<b>")])
    assert isinstance(found, Markup)
    assert '<i class="css" aria-hidden="true"></i>&lt;b&gt;</li>' in found


def test_a_name_is_escaped_and_may_wrap_after_its_separators() -> None:
    assert environment.breakable("a_b.<c>:d") == Markup("a_<wbr>b.<wbr>&lt;c&gt;:<wbr>d")
    assert environment.breakable("plain") == "plain"
