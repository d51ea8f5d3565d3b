"""The options of `stoker worker` that are fields of `WorkerSettings`, which alone holds their defaults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

import click

from ..cli.parameters import Duration

if TYPE_CHECKING:
    from click.types import OptionHelpExtra

Command = TypeVar("Command", bound=Callable[..., None])

_COUNT: Final = click.IntRange(min=1)
_DURATION: Final = Duration()
SETTINGS: Final[dict[str, tuple[click.ParamType[int] | click.ParamType[timedelta], str]]] = {
    "concurrency": (_COUNT, "Threads for sync jobs, for each queue."),
    "async_concurrency": (_COUNT, "Async jobs that run at once, for each queue."),
    "isolated_concurrency": (_COUNT, "Child processes for isolated jobs, for each queue that has them."),
    "recycle_after_jobs": (_COUNT, "Replace a child that has run so many jobs."),
    "recycle_above_bytes": (_COUNT, "Replace a child that holds more memory after a job."),
    "max_in_flight": (_COUNT, "Jobs taken and not yet settled, for each queue."),
    "max_in_flight_bytes": (_COUNT, "Bytes of all these jobs, those that wait included, for each queue."),
    "grace": (_DURATION, "How long running jobs may take to end at a shutdown."),
    "revoke_grace": (_DURATION, "The same when a partition moves away."),
    "commit_interval": (_DURATION, "How often offsets are committed."),
}
"""{field: (type of its option, help)}, in the order of the help."""
_COMPUTED: Final = {"isolated_concurrency": "one for each processor"}
"""{field: its default in words}, where the value depends on the machine."""


class SettingOption(click.Option):
    """An option without a default of its own: the help shows that of the field, and looks it up only then."""

    def get_help_extra(self, ctx: click.Context) -> OptionHelpExtra:
        """Add the field's default."""
        extra = super().get_help_extra(ctx)
        extra["default"] = default_text(self.name or "")
        return extra


def setting_options(command: Command) -> Command:
    """Add an option for each setting."""
    for name, (kind, about) in reversed(SETTINGS.items()):
        option = f"--{name.replace('_', '-')}"
        command = click.option(option, name, cls=SettingOption, type=kind, help=about)(command)
    return command


def default_text(name: str) -> str:
    """The default of a setting, as a person writes it on the command line.

    >>> default_text("concurrency"), default_text("grace"), default_text("recycle_after_jobs")
    ('16', '30s', 'no')
    """
    from ...consumers.settings import WorkerSettings
    from ...topology import format_duration

    if name in _COMPUTED:
        return _COMPUTED[name]
    default = next(field.default for field in fields(WorkerSettings) if field.name == name)
    if default is None:
        return "no"
    return format_duration(default) if isinstance(default, timedelta) else str(default)
