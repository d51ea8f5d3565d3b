"""Publishing jobs: producers, their records, confirmations and errors."""

from .async_producer import AsyncProducer
from .delivery import BulkResult, Receipt
from .errors import EnqueueError
from .instrument import ProducerInstrument
from .producer import Producer
from .settings import ProducerSettings

__all__ = [
    "AsyncProducer",
    "BulkResult",
    "EnqueueError",
    "Producer",
    "ProducerInstrument",
    "ProducerSettings",
    "Receipt",
]
