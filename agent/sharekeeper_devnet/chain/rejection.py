"""Why a transaction never runs: nearcore's `InvalidTxError`, as clients see it."""

from sharekeeper_devnet.runtime.public_key import PublicKey


class InvalidTransactionError(Exception):
    """A transaction that cannot be taken up.

    Attributes:
        reason: the `InvalidTxError` as clients see it.
    """

    def __init__(self, reason: object) -> None:
        super().__init__(f"transaction refused: {reason}")
        self.reason = reason


class InvalidActionsError(InvalidTransactionError):
    """The actions break a limit; `detail` is the `ActionsValidationError`."""

    def __init__(self, detail: object) -> None:
        super().__init__({"ActionsValidation": detail})


class InvalidAccessKeyError(InvalidTransactionError):
    """The access key may not sign this; `detail` is nearcore's `InvalidAccessKeyError`."""

    def __init__(self, detail: object) -> None:
        super().__init__({"InvalidAccessKeyError": detail})


def access_key_not_found(account_id: str, public_key: PublicKey) -> InvalidAccessKeyError:
    """The account has no such key."""
    return InvalidAccessKeyError({"AccessKeyNotFound": {"account_id": account_id, "public_key": str(public_key)}})


def not_enough_balance(signer_id: str, balance: int, cost: int) -> InvalidTransactionError:
    """The signer cannot pay; amounts in yoctoNEAR."""
    return InvalidTransactionError(
        {"NotEnoughBalance": {"signer_id": signer_id, "balance": str(balance), "cost": str(cost)}}
    )
