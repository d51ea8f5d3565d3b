"""Control: orders to the workers, on a topic of their own, and the workers' answers."""

from .answers import Answer, Answers
from .control import Control
from .errors import ControlError, ControlNotReady, OrderRefused, OrderUnconfirmed
from .receipt import OrderReceipt

__all__ = [
    "Answer",
    "Answers",
    "Control",
    "ControlError",
    "ControlNotReady",
    "OrderReceipt",
    "OrderRefused",
    "OrderUnconfirmed",
]
