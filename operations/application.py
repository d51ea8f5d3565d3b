"""Find the user's `Pipeline` from `module:attribute`, and raise exactly what is wrong when that fails.

ApplicationError
├── NoApplication          no application is named
├── ModuleMissing          there is no such module
├── ImportFailed           the module's own code raised while it was imported
├── AttributeMissing       the module has no such attribute
└── NotAPipeline           the attribute is something else
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

from ..schemas.errors import ContractRefused
from ..topology import InvalidDeclaration, Pipeline
from ..topology.own_loggers import keep_loggers_on

_SHOWN_NAMES = 8


class ApplicationError(Exception):
    """The application named by `-A` cannot be used."""


class NoApplication(ApplicationError):
    """Neither `-A` nor `STOKER_APP` names an application."""

    def __init__(self) -> None:
        super().__init__(
            "no application is named: pass `-A module:pipeline` before the command, or set STOKER_APP=module:pipeline, "
            "where module is importable from this folder and pipeline is the Pipeline in it"
        )


class ModuleMissing(ApplicationError):
    """There is no module of that name in this folder or the environment."""

    def __init__(self, module: str, hint: str) -> None:
        super().__init__(f"there is no module {module!r} in {Path.cwd()} or the Python environment; {hint}")
        self.module = module


class ImportFailed(ApplicationError):
    """The application's own code raised while it was imported; `report` is its traceback."""

    def __init__(self, module: str, cause: BaseException) -> None:
        self.module, self.report = module, _own_traceback(cause)
        super().__init__(f"importing {module!r} failed in its own code; fix this and try again:\n\n{self.report}")


class AttributeMissing(ApplicationError):
    """The module is there, the attribute is not."""

    def __init__(self, module: str, attribute: str, hint: str) -> None:
        super().__init__(f"module {module!r} has no {attribute!r}; {hint}")
        self.module, self.attribute = module, attribute


class NotAPipeline(ApplicationError):
    """The attribute is not a `Pipeline`."""

    def __init__(self, application: str, found: object, hint: str) -> None:
        super().__init__(f"{application} is a {type(found).__name__}, not a stoker.topology.Pipeline; {hint}")
        self.application = application


def load_pipeline(application: str | None) -> Pipeline:
    """Import the application; `module` alone will do where the module holds one `Pipeline`.

    Raises:
        ApplicationError: one of its kinds, each with what to do.
    """
    if not application:
        raise NoApplication
    module_name, _, attribute = application.partition(":")
    module = _import(module_name)
    keep_loggers_on()
    return _find_attribute(module, attribute) if attribute else _only_pipeline(module)


def _import(name: str) -> ModuleType:
    if "/" in name or name.endswith(".py"):
        dotted = name.removesuffix(".py").removeprefix("./").strip("/").replace("/", ".")
        raise ModuleMissing(name, f"name the module, not its file: -A {dotted}:pipeline")
    _put_working_folder_on_path()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name is not None and (name == missing.name or name.startswith(missing.name + ".")):
            raise ModuleMissing(name, _module_hint(name)) from missing
        raise ImportFailed(name, missing) from missing
    except (InvalidDeclaration, ContractRefused):
        raise
    except (Exception, SystemExit) as broken:  # the user's code may raise anything; it is reported in full
        raise ImportFailed(name, broken) from broken


def _put_working_folder_on_path() -> None:
    folder = os.getcwd()
    if folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)


def _module_hint(name: str) -> str:
    *parents, last = name.split(".")
    folder = Path(*parents) if parents else Path()
    there = [entry.stem for entry in folder.glob("*") if entry.suffix == ".py" or (entry / "__init__.py").exists()]
    near = difflib.get_close_matches(last, there, n=2)
    if near:
        return f"did you mean {' or '.join('.'.join([*parents, match]) for match in near)}?"
    return "go to the folder that holds it, or install it into this environment"


def _find_attribute(module: ModuleType, attribute: str) -> Pipeline:
    found: object = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise AttributeMissing(module.__name__, attribute, _pipeline_hint(module, attribute))
        found = getattr(found, part)
    if not isinstance(found, Pipeline):
        raise NotAPipeline(f"{module.__name__}:{attribute}", found, _pipeline_hint(module, attribute))
    return found


def _only_pipeline(module: ModuleType) -> Pipeline:
    names = _pipelines_in(module)
    distinct = {id(getattr(module, name)): getattr(module, name) for name in names}
    if len(distinct) != 1:
        raise AttributeMissing(module.__name__, "pipeline", _pipeline_hint(module, "pipeline"))
    found: Pipeline = next(iter(distinct.values()))
    return found


def _pipelines_in(module: ModuleType) -> list[str]:
    return [name for name, value in vars(module).items() if isinstance(value, Pipeline)]


def _pipeline_hint(module: ModuleType, wanted: str) -> str:
    names = _pipelines_in(module)
    if not names:
        return "it holds no Pipeline at all: make one with `pipeline = Pipeline('namespace')`"
    near = difflib.get_close_matches(wanted, names, n=2) or names[:_SHOWN_NAMES]
    return f"did you mean {' or '.join(f'{module.__name__}:{name}' for name in near)}?"


def _own_traceback(error: BaseException) -> str:
    """The traceback from the first frame of the user's own code on."""
    frames = error.__traceback__
    while frames is not None and _is_machinery(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()


def _is_machinery(filename: str) -> bool:
    return filename == __file__ or filename.startswith("<frozen importlib") or filename == importlib.__file__
