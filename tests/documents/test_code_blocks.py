"""The reading of code blocks that the documents' tests stand on."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.code_blocks import code_blocks, first_missing

DOCUMENT = """\
Text with `code`.

```python file=jobs.py
print("a")
```

1. A step:

   ```console run background
   $ stoker worker \\
   > --processes 2
   ready
   ```

```
plain
```
"""


def test_blocks_are_read_in_order_with_their_words_and_lines(tmp_path: Path) -> None:
    """Indented blocks count, and blocks without a language are not lost."""
    (tmp_path / "page.md").write_text(DOCUMENT)
    first, second, third = code_blocks(tmp_path / "page.md")
    assert (first.language, first.file, first.line, first.text) == ("python", "jobs.py", 3, 'print("a")\n')
    assert (second.language, second.words, second.line) == ("console", ("run", "background"), 9)
    assert second.commands == "stoker worker \\\n--processes 2"
    assert second.shown == ["ready"]
    assert (third.language, third.words, third.runs) == ("", (), False)


@pytest.mark.parametrize(
    ("shown", "missing"),
    [
        ([], None),
        (["two", "three"], None),
        (["t…o"], None),
        (["three", "two"], "two"),
        (["four"], "four"),
        (["t.o"], "t.o"),
    ],
)
def test_shown_lines_are_looked_for_in_order(shown: list[str], missing: str | None) -> None:
    """`…` stands for anything, nothing else does."""
    assert first_missing(shown, "one\ntwo\nand three\n") == missing
