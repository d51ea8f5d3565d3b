"""Foreign text for a terminal: keys, ids, errors, names from files and topics, as characters that only show.

A control sequence in a key could clear the operator's screen, hide lines or answer for the keyboard; a mark that turns
the direction of writing makes one name look like another. So what is not a visible character is written as its escape,
as in `\\x1b[2J`. JSON has escapes of its own, which keep the text exact.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Final

_NOT_PLAIN: Final = re.compile(r"[^ -~]")
_NOT_PLAIN_IN_JSON: Final = re.compile(r"[^ -~\n]")


def printable(text: str) -> str:
    r"""One line of foreign text.

    >>> printable("key\x1b[2J\n")
    'key\\x1b[2J\\n'
    """
    return _NOT_PLAIN.sub(_shown, text)


def printable_lines(text: str) -> str:
    """Foreign text of several lines: its line ends stay, tabs become blanks."""
    return "\n".join(printable(line.expandtabs()) for line in text.split("\n"))


def json_text(value: str) -> str:
    """A JSON document that was written with all its characters: those that are not visible become JSON's escapes."""
    return _NOT_PLAIN_IN_JSON.sub(_shown_in_json, value)


def _shown(found: re.Match[str]) -> str:
    character = found[0]
    return character if _is_visible(character) else character.encode("unicode_escape").decode("ascii")


def _shown_in_json(found: re.Match[str]) -> str:
    character = found[0]
    return character if _is_visible(character) else json.dumps(character)[1:-1]


def _is_visible(character: str) -> bool:
    """Whether it is a visible character or a blank; those that control, format or stand for nothing are not."""
    return character.isprintable() or unicodedata.category(character) == "Zs"
