"""`ContractCheck`: holds a worker's contracts against the schema store, before its first job if the store answers.

A contract that the store refuses would make jobs unreadable which others can read: a worker does not start with it. A
store that does not answer is no reason to stand still: what needs no schema of it runs, and the check follows.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from ..schemas import SchemaStore, StoreError
from ..topology import Pipeline
from ..topology.planning.contracts import ContractsRefused, refused_contracts
from .guarded_thread import GuardedThread

_LOGGER = logging.getLogger("stoker.worker")

ASK_AGAIN_S: Final = 5.0


class ContractCheck:
    """The contracts of the job types of some queues.

    Attributes:
        is_checked: whether the store has accepted them all.
    """

    def __init__(self, pipeline: Pipeline, store: SchemaStore, queue_names: Sequence[str]) -> None:
        self._pipeline, self._store, self._queue_names = pipeline, store, queue_names
        self._stopping = threading.Event()
        self.is_checked = False

    def check_at_start(self) -> None:
        """Check now, or leave it to `start` where the store does not answer.

        Raises:
            ContractsRefused: the store would not register a contract.
        """
        try:
            self._check()
        except StoreError as error:
            _LOGGER.warning(
                "the contracts are not compared with the registered ones yet: %s. The worker starts, and jobs whose "
                "schema it does not know wait",
                error,
            )

    def start(
        self,
        on_checked: Callable[[], None],
        on_refused: Callable[[ContractsRefused], None],
        *,
        on_crash: Callable[[BaseException], None],
    ) -> None:
        """Go on asking beside the work, where the store did not answer before."""
        if not self.is_checked:
            GuardedThread("stoker-contracts", partial(self._ask, on_checked, on_refused), on_crash).start()

    def stop(self) -> None:
        """Ask no more."""
        self._stopping.set()

    def _check(self) -> None:
        refusals = refused_contracts(self._pipeline, self._store, self._queue_names)
        if refusals:
            raise ContractsRefused(self._pipeline.namespace, refusals)
        self.is_checked = True

    def _ask(self, on_checked: Callable[[], None], on_refused: Callable[[ContractsRefused], None]) -> None:
        while not self.is_checked and not self._stopping.wait(ASK_AGAIN_S):
            try:
                self._check()
                on_checked()
            except StoreError:
                continue
            except ContractsRefused as refused:
                on_refused(refused)
                break
