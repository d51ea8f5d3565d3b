"""Finding the application: every way in which `-A` can be wrong is distinguished, with what to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoker.operations.application import (
    ApplicationError,
    AttributeMissing,
    ImportFailed,
    ModuleMissing,
    NoApplication,
    NotAPipeline,
    load_pipeline,
)
from support.scenes.shop_application import Shop, make_shop


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str) -> Shop:
    """An application without a cluster."""
    return make_shop(tmp_path, monkeypatch, namespace)


@pytest.mark.parametrize(
    ("written", "error", "hint"),
    [
        (None, NoApplication, "STOKER_APP"),
        ("", NoApplication, "-A module:pipeline"),
        ("shop_{0}x:pipeline", ModuleMissing, "did you mean shop_{0}?"),
        ("nowhere.at.all:pipeline", ModuleMissing, "install it"),
        ("shop_{0}.py:pipeline", ModuleMissing, "-A shop_{0}:pipeline"),
        ("./jobs/shop.py:pipeline", ModuleMissing, "-A jobs.shop:pipeline"),
        ("shop_{0}:pipelin", AttributeMissing, "did you mean shop_{0}:pipeline?"),
        ("shop_{0}:not_a_pipeline", NotAPipeline, "did you mean shop_{0}:pipeline?"),
    ],
)
@pytest.mark.usefixtures("shop")
def test_a_wrong_application_is_reported_with_the_way_out(
    namespace: str, written: str | None, error: type[ApplicationError], hint: str
) -> None:
    """Each mistake has its own error, and a hint that fixes it."""
    with pytest.raises(error) as caught:
        load_pipeline(written and written.format(namespace))
    assert hint.format(namespace) in str(caught.value)


def test_a_module_alone_will_do_where_it_holds_one_pipeline(shop: Shop) -> None:
    """`-A shop` means the shop's only pipeline."""
    assert load_pipeline(shop.module) is shop.pipeline


@pytest.mark.parametrize(
    "source", ["def mend_me() -> None:\n    1 / 0\nmend_me()\n", "import a_package_that_is_not_there\n", "exit(3)\n"]
)
def test_an_error_of_the_applications_own_code_is_shown_from_its_first_line_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str, source: str
) -> None:
    """A user sees the traceback of the own code, without Stoker's and the import machinery's frames."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"broken_{namespace}.py").write_text(source)
    with pytest.raises(ImportFailed) as caught:
        load_pipeline(f"broken_{namespace}:pipeline")
    assert f"broken_{namespace}.py" in caught.value.report
    assert "importlib" not in caught.value.report
    assert "application.py" not in caught.value.report
    assert caught.value.__cause__ is not None
