"""The keys as they are now: processes that run for months see a rotation at their next signature."""

from pathlib import Path

from service.errors import UnusableKeys
from service.ledger import keys
from service.ledger.keys import FILES, PIN_FILE, Keys
from service.settings import Settings

Identity = tuple[tuple[int, int, int] | None, ...]


class Keyring:
    """A folder of keys, read again whenever one of its files was replaced."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = self._read()

    @classmethod
    def of(cls, settings: Settings) -> "Keyring":
        """The folder of the settings, which must not promise a KMS where a file signs."""
        for use, signer in (("certificate", settings.certificate_signer), ("log", settings.log_signer)):
            if signer is not None and not (settings.keys_dir / f"{use}.uri").exists():
                said = f"EXPUNGE_{use.upper()}_SIGNER is set, but {use}.pem signs"
                raise UnusableKeys(f"{said}; unset it, or move the key with `expunge keys rotate {use} --signer`")
        return cls(settings.keys_dir)

    @property
    def keys(self) -> Keys:
        """Ask anew for each piece of work; who keeps the answer keeps a key that may be gone."""
        if self._seen[0] != self._identity():
            self._seen = self._read()
        return self._seen[1]

    def _read(self) -> tuple[Identity, Keys]:
        """A rotation in the middle of reading is no fault of the folder: read again."""
        while True:
            before = self._identity()
            try:
                found = keys.load(self._folder)
            except UnusableKeys:
                if before == self._identity():
                    raise
                continue
            if before == self._identity():
                return before, found

    def _identity(self) -> Identity:
        return tuple(_identity(self._folder / name) for name in (*FILES, PIN_FILE))


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        held = path.stat()
    except OSError:
        return None
    return held.st_ino, held.st_mtime_ns, held.st_size
