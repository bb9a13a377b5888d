"""What every store must keep, as tests that any implementation can be run against.

    class TestMyStore(StoreContract):
        def open_store(self, *, clock):          # an async context manager
            return my_empty_store(clock=clock)

Run by pytest with pytest-asyncio in its `auto` mode. A store that survives its process subclasses
`DurableStoreContract` and also gives `open_again`. Each test makes its own empty store.

A store that remembers earlier answers (`AnswerStore`) also subclasses `AnswersContract`. What a
server needs besides (keys, spend, the audit log) has `AccessContract` and
`DurableAccessContract`.
"""

from palaver.testing.store_contract.access import (
    AccessContract as AccessContract,
    DurableAccessContract as DurableAccessContract,
)
from palaver.testing.store_contract.answers import AnswersContract as AnswersContract
from palaver.testing.store_contract.blobs import BlobStoreContract as BlobStoreContract
from palaver.testing.store_contract.durable import DurableContract
from palaver.testing.store_contract.forks import ForkContract
from palaver.testing.store_contract.listing import ListingContract
from palaver.testing.store_contract.log import LogContract
from palaver.testing.store_contract.redaction import RedactionContract
from palaver.testing.store_contract.turns import TurnContract


class StoreContract(LogContract, TurnContract, ListingContract, ForkContract, RedactionContract):
    """Everything that any `ConversationStore` must keep."""


class DurableStoreContract(StoreContract, DurableContract):
    """And what one must keep that outlives its process and may be opened twice at a time."""
