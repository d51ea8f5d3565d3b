"""The API reference as Markdown, made of signatures and docstrings; `make reference` writes it to docs/reference.md."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import griffe

from support import commands_page, metrics_page, modules_page

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "reference.md"
MODULES: Final = (
    "stoker.topology",
    "stoker.producers",
    "stoker.producers.errors",
    "stoker.producers.control",
    "stoker.producers.outbox",
    "stoker.consumers",
    "stoker.consumers.records.outcomes",
    "stoker.testing",
    "stoker.schemas",
)
"""What applications import from; of each, the names in `__all__`, or all that do not begin with `_`."""

_HEAD: Final = """\
# API reference

Every public name, with its parameters and defaults. This page is made of the docstrings: `make reference` writes it.
The commands and their options are in [commands](commands.md).
"""


def reference_page() -> str:
    """The whole page."""
    modules = [_load(name) for name in MODULES]
    contents = "\n".join(f"- [{name}](#{_anchor(name)})" for name in MODULES)
    return "\n".join([_HEAD, contents, *(_module(module) for module in modules)]).rstrip() + "\n"


def _load(name: str) -> griffe.Module:
    layers = ROOT / ".venv" / "typed"  # stoker/<layer> as folders, where an editable install has a finder
    loaded = griffe.load(name, search_paths=[layers], docstring_parser="google", docstring_options={"warnings": False})
    assert isinstance(loaded, griffe.Module)
    return loaded


def _anchor(heading: str) -> str:
    return heading.replace(".", "").lower()


def _module(module: griffe.Module) -> str:
    return "\n".join([f"\n## {module.path}\n", *_docs(module), *(_item(item) for item in _public(module))])


def _public(module: griffe.Module) -> Iterator[griffe.Object]:
    names = [str(name) for name in module.exports or ()] or [
        name for name, member in module.members.items() if not member.is_alias and not name.startswith("_")
    ]
    for name in names:
        member = module.members[name]
        if member.is_module:  # a function that is named as its module
            member = member.members[name]
        target = member.final_target if isinstance(member, griffe.Alias) else member
        if isinstance(target, griffe.Class | griffe.Function):
            yield target


def _item(item: griffe.Object) -> str:
    if isinstance(item, griffe.Class):
        return _class(item)
    assert isinstance(item, griffe.Function)
    return _function(item, f"### {item.name}")


def _class(item: griffe.Class) -> str:
    bases = f"({', '.join(map(str, item.bases))})" if item.bases else ""
    shown = [_signature(f"class {item.name}{bases}", item.parameters)] if _is_made_by_users(item) else []
    bounds = "" if shown else f"\n`class {item.name}{bases}`\n"
    members = [_member(item, member) for member in item.members.values() if _is_shown(member)]
    return "\n".join([f"\n### {item.name}\n{bounds}", *shown, *_docs(item), *members])


def _is_made_by_users(item: griffe.Class) -> bool:
    return bool(list(item.parameters)) and not item.name.endswith("Error")


def _is_shown(member: griffe.Object | griffe.Alias) -> bool:
    is_callable = member.is_function or (member.is_attribute and "property" in member.labels)
    return not member.name.startswith("_") and is_callable and member.docstring is not None


def _member(owner: griffe.Class, member: griffe.Object | griffe.Alias) -> str:
    heading = f"#### {owner.name}.{member.name}"
    target = member.final_target if isinstance(member, griffe.Alias) else member
    if isinstance(target, griffe.Function):
        return _function(target, heading)
    assert isinstance(target, griffe.Attribute)
    return "\n".join([f"\n{heading}\n", f"Property, `{target.annotation}`.\n", *_docs(target)])


def _function(item: griffe.Function, heading: str) -> str:
    begin = "async def" if "async" in item.labels else "def"
    end = f" -> {item.returns}" if item.returns is not None else ""
    return "\n".join([f"\n{heading}\n", _signature(f"{begin} {item.name}", item.parameters, end), *_docs(item)])


def _signature(begin: str, parameters: griffe.Parameters, end: str = "") -> str:
    shown = list(_parameters(parameters))
    line = f"{begin}({', '.join(shown)}){end}"
    if len(line) > 100:
        line = f"{begin}(\n    {''.join(f'{part},{chr(10)}    ' for part in shown).rstrip()}\n){end}"
    return f"```text\n{line}\n```\n"


def _parameters(parameters: griffe.Parameters) -> Iterator[str]:
    is_marked = False
    for parameter in parameters:
        if parameter.name in {"self", "cls"}:
            continue
        if parameter.kind is griffe.ParameterKind.keyword_only and not is_marked:
            is_marked = True
            yield "*"
        is_marked = is_marked or parameter.kind is griffe.ParameterKind.var_positional
        yield _parameter(parameter)


def _parameter(parameter: griffe.Parameter) -> str:
    stars = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}
    star = stars.get(parameter.kind or griffe.ParameterKind.positional_or_keyword, "")
    annotation = f": {parameter.annotation}" if parameter.annotation is not None else ""
    default = f" = {parameter.default}" if parameter.default is not None and not star else ""
    return f"{star}{parameter.name}{annotation}{default}"


def _docs(item: griffe.Object) -> Iterator[str]:
    for section in item.docstring.parsed if item.docstring is not None else ():
        yield from _section(section)


def _section(section: griffe.DocstringSection) -> Iterator[str]:
    match section:
        case griffe.DocstringSectionText():
            yield f"{_text(section.value)}\n"
        case griffe.DocstringSectionParameters() | griffe.DocstringSectionAttributes():
            yield _listed((_names(entry), entry.description) for entry in section.value)
        case griffe.DocstringSectionRaises():
            yield f"Raises:\n\n{_listed((f'`{entry.annotation}`', entry.description) for entry in section.value)}"
        case griffe.DocstringSectionReturns():
            yield "".join(f"Returns: {_text(entry.description)}\n" for entry in section.value)
        case griffe.DocstringSectionExamples():
            yield "".join(f"```text\n{text}\n```\n" for _kind, text in section.value)
        case griffe.DocstringSectionAdmonition():
            yield f"{section.title}: {_text(section.value.description)}\n"
        case _:
            raise NotImplementedError(f"a section of the kind {section.kind} in a docstring")


def _names(entry: griffe.DocstringParameter | griffe.DocstringAttribute) -> str:
    """One name or several: of `found, declared` the parser takes the second one for an annotation."""
    is_list = entry.name.endswith(",")
    return f"`{entry.name} {entry.annotation}`" if is_list else f"`{entry.name}`"


def _listed(entries: Iterable[tuple[str, str]]) -> str:
    return "".join(f"- {name}: {_text(description)}\n" for name, description in entries)


def _text(text: str) -> str:
    """A docstring's prose; what is indented there, such as a tree of errors, is shown as it stands."""
    if "\n    " not in text:
        return text.replace("\n", " ") if "\n\n" not in text else text
    return f"```text\n{text}\n```"


if __name__ == "__main__":
    for page, text in (
        (PAGE, reference_page()),
        (commands_page.PAGE, commands_page.commands_page()),
        (modules_page.PAGE, modules_page.modules_page()),
        (metrics_page.PAGE, metrics_page.metrics_page()),
    ):
        page.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{page.relative_to(ROOT)} is written\n")
