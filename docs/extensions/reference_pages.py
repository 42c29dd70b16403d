"""Makes the reference from the code as the site is built: Python API, commands, file formats, catalogues."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.testing import CliRunner

from sam_audio_bench.cli import group
from sam_audio_bench.cli.examples import EXAMPLES

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

DOCS = Path(__file__).parents[1]
PACKAGE = DOCS.parent / "sam_audio_bench"
OUT = DOCS / "_generated"
CODE = re.compile(r"(``[^`]+``|(?<!`)`[^`]+`(?!`))(?=\w)")  # with a letter right behind it
TABLE = re.compile(r"\S+ {2,}\S|    +\S")  # a line of a module's map, or of an example


COMMAND = object()  # what click makes of a function


@dataclass
class Module:
    """What a module offers by its ``__all__``."""

    name: str
    summary: str
    public: list[str]
    own: list[str] = field(default_factory=list)  # of these, what is defined here
    data: list[str] = field(default_factory=list)  # of these, what is neither a function nor a class
    taken: dict[str, str] = field(default_factory=dict)  # the others, and where they were imported from


@cache
def modules() -> dict[str, Module]:
    """Every module that has public names, read from its source, since importing costs more."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        module = _module(name, ast.parse(path.read_text(encoding="utf-8")))
        if module.public:
            found[name] = module
    return found


def _module(name: str, tree: ast.Module) -> Module:
    defined: dict[str, Any] = {}
    taken: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined[node.name] = COMMAND if any(map(_makes_command, node.decorator_list)) else None
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = (one for target in targets for one in ast.walk(target) if isinstance(one, ast.Name))
            defined |= {one.id: node.value for one in names}
    listed = defined.get("__all__")
    public = ast.literal_eval(listed) if listed is not None else []
    for one in ast.walk(tree) if set(public) - set(defined) else ():
        if isinstance(one, ast.ImportFrom):
            taken |= {alias.asname or alias.name: f"{one.module}.{alias.name}" for alias in one.names}
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    own = [one for one in public if one in defined]
    data = [one for one in own if defined[one] is not None]
    return Module(name, summary, public, own, data, {one: taken[one] for one in public if one not in defined})


def _makes_command(decorator: ast.expr) -> bool:
    call = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(call, ast.Attribute) and call.attr in ("command", "group")


def home(known: Mapping[str, Module], name: str) -> str:
    """Where a public name is documented: ``sam_audio_bench.Audio`` at ``sam_audio_bench.types.Audio``."""
    module, _, last = name.rpartition(".")
    while name not in known and module in known and last in known[module].taken:
        name = known[module].taken[last]
        module, _, last = name.rpartition(".")
    return name


def api_pages() -> dict[str, str]:
    """Pages in reStructuredText by their names: one of each module or package directly below ours."""
    known, pages = modules(), {}
    tops = dict.fromkeys(".".join(name.split(".")[:2]) for name in known)
    for top in tops:
        here = [name for name in known if name == top or (name.startswith(f"{top}.") and top != PACKAGE.name)]
        pages[f"{top}.rst"] = _title(top, "=") + "\n".join(_section(known, known[name], top) for name in here)
    tables = "\n".join(f"   {top}" for top in tops)
    pages["index.rst"] = _title("Python API", "=") + (
        "Every public name, from the docstrings. ``import sam_audio_bench as sab`` gives those of the first page; the\n"
        f"others are for who builds on a part.\n\n.. toctree::\n   :maxdepth: 1\n\n{tables}\n"
    )
    return pages


def _title(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}\n\n"


def _section(known: Mapping[str, Module], module: Module, top: str) -> str:
    title = "" if module.name == top else _title(module.name, "-")
    text = f"{title}.. automodule:: {module.name}\n"
    functions = [one for one in module.own if one not in module.data]
    if functions:
        text += f"   :members: {', '.join(functions)}\n   :undoc-members:\n   :show-inheritance:\n"
    for one in module.data:  # which autodoc leaves out where they have no docstring
        text += f"\n.. autodata:: {module.name}.{one}\n   :no-value:\n"
    lines = [f"* :py:obj:`{one} <{home(known, f'{module.name}.{one}')}>`" for one in module.taken]
    return text + ("\nFrom other modules:\n\n" + "\n".join(lines) + "\n" if lines else "")


def command_pages() -> dict[str, str]:
    """Pages in reStructuredText by their names: one of each command of ``sabench``, with those below it."""
    context, pages = click.Context(group, info_name="sabench"), {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)  # which adds its examples
        _load(command, click.Context(command, parent=context, info_name=name) if command else context)
        place = group._lazy[name][0]
        pages[f"{name}.rst"] = f".. click:: {place}\n   :prog: sabench {name}\n   :nested: full\n"
    names = "\n".join(f"   {page.removesuffix('.rst')}" for page in pages)
    pages["index.rst"] = _title("Commands", "=") + (
        "``sabench COMMAND --help`` prints the same. Options of ``sabench eval`` may also come from a file\n"
        "(``--config``) and from the environment, as ``SABENCH_SEED=1``.\n\n"
        f".. toctree::\n   :maxdepth: 2\n\n{names}\n"
    )
    return pages


def _load(command: click.Command | None, context: click.Context) -> None:
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        command.get_command(context, name)


def format_pages() -> dict[str, str]:
    """Pages in Markdown by their names: one of each JSON Schema."""
    files = sorted(PACKAGE.rglob("*.schema.json"))
    pages = {f"{path.name.removesuffix('.schema.json')}.md": _schema_page(path) for path in files}
    names = "\n".join(page.removesuffix(".md") for page in pages)
    pages["index.md"] = (
        "# File formats\n\nWhat run folders and leaderboards hold, from the JSON Schemas of the package: "
        f"[what a run folder is](../../runs.md), [what a submission is](../../leaderboard.md).\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{names}\n```\n"
    )
    return pages


_FILES = {
    "boards": "`boards.json` of a leaderboard: its tasks",
    "item": "a line of `journal.jsonl` of a run folder",
    "log": "a line of `log.jsonl` of a leaderboard",
    "preview": "what the site knows of the sounds of an item",
    "previews": "which items of a leaderboard can be heard, and at what rate",
    "reported": "numbers that a paper reports",
    "run": "`run.json` of a run folder",
    "score": "a row of `scores.parquet` of a run folder",
    "submission": "`submission.json` of a leaderboard",
}


def _schema_page(path: Path) -> str:
    name = path.name.removesuffix(".schema.json")
    schema = json.loads(path.read_text(encoding="utf-8"))
    place = Path("../../..") / path.relative_to(DOCS.parent)
    parts = [f"# {name}\n\n{_FILES[name].capitalize()}. [The JSON Schema of {name}]({place.as_posix()})\n"]
    parts += [_definition(one) for one in schema["$defs"].values()]
    return "\n".join(parts)


def _definition(one: Mapping[str, Any]) -> str:
    title, about = one.get("title", ""), _code(one.get("description", ""))
    if "properties" not in one:
        return f"## {title}\n\n{about}\n\n{_kind(one)}\n"
    needed = set(one.get("required", ()))
    lines = [f"## {title}\n\n{about}\n\n| field | type | |\n| --- | --- | --- |"]
    for name, value in one["properties"].items():
        default = f"default `{json.dumps(value['default'])}`" if "default" in value else ""
        told = ", ".join(filter(None, [_code(value.get("description", "")), "required" * (name in needed), default]))
        lines.append(f"| `{name}` | {_kind(value)} | {told} |")
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    """A docstring's code in Markdown."""
    return text.replace("``", "`").replace("\n", " ").replace("|", "\\|")


def _kind(value: Mapping[str, Any]) -> str:
    """A JSON Schema in words, for a cell of a table."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for word in ("anyOf", "oneOf"):
        if word in value:
            return " or ".join(map(_kind, value[word]))
    if "enum" in value:
        return ", ".join(f"`{json.dumps(one)}`" for one in value["enum"])
    if value.get("prefixItems"):
        return f"array: {', '.join(map(_kind, value['prefixItems']))}"
    if isinstance(value.get("items"), dict) and value["items"]:
        return f"array of {_kind(value['items'])}"
    if isinstance(value.get("additionalProperties"), dict) and value["additionalProperties"]:
        return f"object of {_kind(value['additionalProperties'])}"
    kind = value.get("type", "anything")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def catalogue_pages() -> dict[str, str]:
    """Pages in Markdown by their names: what ``sabench list`` knows."""
    pages = {}
    for kind in ("tasks", "layouts", "models", "metrics"):
        shown = CliRunner().invoke(group, ["list", kind, "--format", "md"], catch_exceptions=False).stdout
        pages[f"{kind}.md"] = f"# All {kind}\n\nWhat `sabench list {kind}` prints.\n\n{shown}"
    return pages


def pages() -> Iterator[tuple[Path, str]]:
    """Every page with its place."""
    made = {
        "api": api_pages(),
        "commands": command_pages(),
        "formats": format_pages(),
        "catalogues": catalogue_pages(),
    }
    for folder, texts in made.items():
        yield from ((OUT / folder / name, text) for name, text in texts.items())


def _write(app: Sphinx) -> None:
    wanted = dict(pages())
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:  # else Sphinx would read it again
            path.write_text(text, encoding="utf-8")
    for folder in {path.parent for path in wanted}:
        for path in set(folder.iterdir()) - set(wanted):
            path.unlink()  # of a module that is gone


def _docstring(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Makes reStructuredText of a docstring: "`x`d" and tables in a module's text need marks."""
    if what == "data" and not isinstance(thing, click.Command) and not _is_explained(name):
        lines.clear()  # what Python says of every dict, numpy of every alias of an array
    found: list[str] = []
    inside = False
    for line in lines:
        row = what == "module" and TABLE.match(line) is not None
        before = next((one for one in reversed(found) if one.strip()), "")
        if row and not inside and not before.endswith("::"):
            found += [".. code-block:: text", ""]
        elif inside and not row and line.strip() and not line.startswith("    "):
            found.append("")
        inside = row or (inside and (line.startswith("    ") or not line.strip()))
        found.append(
            f"    {line.strip()}" if row and not line.startswith("    ") else line if row else CODE.sub(r"\1\\ ", line)
        )
    lines[:] = found


def _is_explained(name: str) -> bool:
    """Whether a constant has a docstring of its own, below it."""
    from sphinx.pycode import ModuleAnalyzer

    module, _, last = name.rpartition(".")
    return ("", last) in ModuleAnalyzer.for_module(module).find_attr_docs()


def _options(app: Sphinx, context: click.Context, lines: list[str]) -> None:
    """Stars and underscores in the help of options are what they are."""
    lines[:] = [re.sub(r"_?\*", lambda match: match[0].replace("_", "\\_").replace("*", "\\*"), line) for line in lines]


def _epilog(app: Sphinx, context: click.Context, lines: list[str]) -> None:
    """Examples are commands to copy."""
    examples = EXAMPLES.get(context.command_path.removeprefix("sabench "))
    if examples:
        lines[:] = [".. code-block:: bash", "", *(f"   {line}" for line in examples), ""]


@cache
def _homes() -> dict[str, list[str]]:
    """Where public names are defined, by what they are called without their modules."""
    found: dict[str, list[str]] = {}
    for module in modules().values():
        for one in module.own:
            found.setdefault(one, []).append(f"{module.name}.{one}")
    return found


def _short_names(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.Element) -> nodes.Element | None:
    """`Audio` in any docstring leads to the one public thing of this name."""
    if node.get("refdomain") != "py" or node["reftarget"].startswith("sam_audio_bench."):
        return None
    first, _, rest = node["reftarget"].removeprefix("~").partition(".")
    places = _homes().get(first, ())
    if len(places) != 1:
        return None
    target = ".".join(filter(None, [*places, rest]))
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connects all of it to Sphinx."""
    app.connect("builder-inited", _write)
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("sphinx-click-process-options", _options)
    app.connect("sphinx-click-process-epilog", _epilog)
    app.connect("missing-reference", _short_names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
