"""Everything that puts a job on a topic: producers, records, delivery and its errors."""

from .delivery import BulkResult, Receipt
from .errors import EnqueueError
from .producer import Producer
from .settings import ProducerSettings

__all__ = ["BulkResult", "EnqueueError", "Producer", "ProducerSettings", "Receipt"]
