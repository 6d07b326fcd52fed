"""Texts as numbers of words, without a vocabulary that was learned from anybody.

A word's number is a hash of its letters. A vocabulary counted on a data set would be a list of what people wrote, kept
outside the weights, where no unlearning reaches: the rare words of somebody forgotten would stay in it for ever.

    word → 1 + BLAKE2b-64(UTF-8 of the word, big-endian) mod (vocabulary − 1),     0 fills up what is shorter

Limits: two words may share a number; scripts without spaces, and letters that are followed by combining marks, are cut
at other places than a reader would cut them.
"""

import re
from array import array
from collections.abc import Iterable
from hashlib import blake2b
from itertools import islice
from unicodedata import normalize

from service.domain.recipes import Tokens

_WORD = re.compile(r"[^\W_]+|[^\w\s]|_")    # a run of letters and digits, or one mark


def words(text: str) -> Iterable[str]:
    """The words and marks of a text in lower case, the same for every way to compose its letters."""
    return (found[0].lower() for found in _WORD.finditer(normalize("NFC", text)))


def number(word: str, vocabulary: int) -> int:
    """1 … vocabulary − 1, the same for ever and on every machine."""
    return 1 + int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "big") % (vocabulary - 1)


def numbers(texts: Iterable[str], shape: Tokens) -> "tuple[array[int], int]":
    """The texts as rows of `length` 32-bit numbers, one after the other, and how many of them have no word."""
    rows, empty = array("i"), 0
    for text in texts:
        row = [number(word, shape.vocabulary) for word in islice(words(text), shape.length)]
        empty += not row
        rows.extend(row)
        rows.extend([0] * (shape.length - len(row)))
    return rows, empty
