"""`expunge verify-receipt`."""

import sys
from pathlib import Path


def verify_receipt(receipt: Path, bundle: Path, *, key: Path) -> None:
    """Check offline that one sample was in the request that a bundle certifies; exit codes as of `expunge verify`.

    Args:
        receipt: the file of GET /deletion-requests/{id}/receipt.
        bundle: the zip of GET /deletion-requests/{id}/bundle.
        key: the public key file, obtained from the operator by another way.
    """
    from service.ledger import verify

    sys.exit(verify.main([str(bundle), "--key", str(key), "--receipt", str(receipt)]))
