"""The site: its reference has every public name, command and field; its lists and quotations are those of the code."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from docs_blocks import GUIDES, ROOT

import sam_audio_bench
from sam_audio_bench.cli import group

DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS / "extensions"))

from checkout_pages import MIRROR, outside, relinked  # noqa: E402
from reference_pages import _docstring as docstring  # noqa: E402
from reference_pages import api_pages, catalogue_pages, command_pages, format_pages, home, modules  # noqa: E402

PACKAGE = ROOT / "sam_audio_bench"
NAMES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(PACKAGE.rglob("*.py"))
]
NOTEBOOKS = sorted((DOCS / "tutorials").glob("*.ipynb"))


def test_the_reference_has_every_public_name() -> None:
    known, pages = modules(), api_pages()
    assert [*known] == [name for name in NAMES if name in known]
    sources = {name: (ROOT / name.replace(".", "/")) for name in NAMES if name not in known}
    for place in sources.values():  # what is left out has nothing public
        path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        assert not re.search(r"^__all__ = [^\]]*[\"']", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert sam_audio_bench.__all__ == known["sam_audio_bench"].public
    for name, module in known.items():
        for one in module.public:
            there = home(known, f"{name}.{one}")
            its, _, last = there.rpartition(".")
            assert there in known or last in known[its].own, f"{name}.{one} is documented nowhere"
    for name, module in known.items():
        top = ".".join(name.split(".")[:2])
        text = pages[f"{top}.rst"].partition(f"automodule:: {name}\n")[2].partition("automodule::")[0]
        listed = re.findall(r":members: (.*)", text)
        assert [name for line in listed for name in line.split(", ")] + re.findall(
            rf"autodata:: {name}\.(\S+)\n", text
        ) == [one for one in module.own if one not in module.data] + module.data
    assert all(f"   {page.removesuffix('.rst')}\n" in pages["index.rst"] for page in pages if page != "index.rst")


def commands(above: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    """All commands below a group by their names."""
    for name in above.list_commands(context):
        command = above.get_command(context, name)
        assert command is not None
        below = click.Context(command, parent=context, info_name=name)
        yield below.command_path, command
        if isinstance(command, click.Group):
            yield from commands(command, below)


def test_the_reference_has_every_command() -> None:
    shown = {}
    for page, text in command_pages().items():
        for place, name in re.findall(r"click:: (\S+)\n   :prog: (.*)\n   :nested: full", text):
            module, _, attribute = place.partition(":")
            command = getattr(importlib.import_module(module), attribute)
            assert page == f"{name.split()[-1]}.rst"
            shown[name] = command
            if isinstance(command, click.Group):  # whose commands the page nests
                shown |= dict(commands(command, click.Context(command, info_name=name)))
    assert shown == dict(commands(group, click.Context(group, info_name="sabench")))


def test_the_reference_has_every_field_of_every_file() -> None:
    pages = format_pages()
    for path in PACKAGE.rglob("*.schema.json"):
        text = pages[path.name.replace(".schema.json", ".md")]
        for title, one in json.loads(path.read_text(encoding="utf-8"))["$defs"].items():
            assert f"## {one.get('title', title)}\n" in text
            assert all(f"| `{name}` |" in text for name in one.get("properties", ()))


def test_the_catalogues_are_pages() -> None:
    pages = catalogue_pages()
    assert all(f"| {name}" in pages["metrics.md"] for name in ("si_sdr_i", "saj_overall"))
    assert {*pages} == {"tasks.md", "layouts.md", "models.md", "metrics.md"}


def test_links_lead_on_where_a_page_is_shown_elsewhere() -> None:
    page = ROOT / "CONTRIBUTING.md"
    text = "[a](docs/runs.md#tables) [b](CHANGELOG.md) [c](tests/conftest.py) [d](https://x.org) [e](judge/report)\n"
    text += "```\n[a](docs/runs.md)\n```\n"
    found = relinked(text, page, MIRROR / page.name)
    assert found.startswith("[a](../../runs.md#tables) [b](CHANGELOG.md) [c](../../../tests/conftest.py) ")
    assert found.endswith("[d](https://x.org) e\n```\n[a](docs/runs.md)\n```\n")  # no page stands for a folder
    inside = relinked("[the card](../judge/README.md)", DOCS / "judge.md", DOCS / "judge.md")
    assert inside == "[the card](_generated/checkout/judge/README.md)"
    assert all(one.is_file() for one in outside())


def test_a_map_in_a_docstring_is_shown_as_it_stands() -> None:
    lines = ["Parts.", "", "a    one `Thing`", "bc   another", "", "``x``s are `y`s.", "    code", "", "End."]
    docstring(None, "module", "m", None, None, lines)  # type: ignore[arg-type]
    wanted = [
        "Parts.",
        "",
        ".. code-block:: text",
        "",
        "    a    one `Thing`",
        "    bc   another",
        "",
        "",
        "``x``\\ s are `y`\\ s.",
    ]
    assert lines == [*wanted, ".. code-block:: text", "", "    code", "", "", "End."]


def title(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        text = "".join(json.loads(text)["cells"][0]["source"])
    found = re.search(r"^# (.*)$", text, re.MULTILINE)
    assert found is not None
    return found[1].replace("`", "")


def test_llms_txt_lists_every_page_by_its_title() -> None:
    text = (DOCS / "llms.txt").read_text(encoding="utf-8")
    assert re.match(r"# sam-audio-bench\n\n> .+\n\n.+\n\n## ", text)  # as llmstxt.org has it
    listed = {link: name for name, link in re.findall(r"^- \[(.*?)\]\((\S+?)\)", text, re.MULTILINE)}
    lists = {"index.md", "reference/metric-cards.md"}
    pages = [page for page in [*GUIDES, *NOTEBOOKS] if page.name != "index.md"]
    wanted = {page.relative_to(DOCS).as_posix(): title(page) for page in pages}
    assert listed == {link: name for link, name in wanted.items() if link not in lists}


def test_every_message_of_the_troubleshooting_page_is_in_the_code() -> None:
    page = (DOCS / "how-to" / "troubleshooting.md").read_text(encoding="utf-8")
    fragments = re.findall(r"^\| `(.+?)` \|", page, re.MULTILINE)
    code = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    assert len(fragments) > 25
    assert [one for one in fragments if one not in code] == []


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("furo")
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(tmp_path / "trees")]
    done = subprocess.run([*build, str(DOCS), str(tmp_path / "site")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "site" / "llms.txt").is_file()
