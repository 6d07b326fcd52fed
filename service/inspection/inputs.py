"""What a model is fed: lists of floats, encoded pictures, or texts. Each reader yields the raw bytes of a tensor."""
# pyarrow brings no types, and makes most functions of `compute` while it is imported:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportAttributeAccessIssue=false

import struct
import warnings
import zlib
from io import BytesIO

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image as Pillow

from service.domain.recipes import Image, InputShape, Tokens, Vector
from service.domain.words import numbers
from service.inspection.columns import as_text, count, is_text
from service.inspection.tally import Tally

BATCH_BYTES = 8 << 20
BATCH_ROWS = 16_384
MAX_FEATURES = 65_536
MAX_SIDE = 1024
UNREADABLE = (      # what Pillow's decoders raise for broken files
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    struct.error, zlib.error, Pillow.DecompressionBombError, Pillow.DecompressionBombWarning,
)


class Features:
    """Lists of one length, of finite floats; the tensor is F32 (n, F)."""

    dtype = "F32"
    batch_rows = BATCH_ROWS

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._width: int | None = None

    @staticmethod
    def reads(kind: pa.DataType) -> bool:
        listed = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
        return listed and pa.types.is_floating(kind.value_type)

    def read(self, column: pa.Array) -> pa.Buffer | None:
        widths = pc.list_value_length(column)
        bad = self._count("rows without features", column.null_count)
        bad += self._check_widths(widths.drop_null())
        values = column.flatten().cast(pa.float32(), safe=False)
        bad += self._count("values that are null", values.null_count)
        odd = count(pc.invert(pc.is_finite(values)))
        bad += self._count("values that are NaN, infinite, or too large for 32 bits", odd)
        return None if bad else values.buffers()[1].slice(4 * values.offset, 4 * len(values))

    def _check_widths(self, widths: pa.Array) -> int:
        if not len(widths):
            return 0
        if self._width is None:
            self._width = int(widths[0].as_py())
            if not 0 < self._width <= MAX_FEATURES:
                self._tally.say("/columns/features", f"a row has between 1 and {MAX_FEATURES} features")
        others = count(pc.not_equal(widths, self._width))
        return self._count("rows with another number of features than the first", others)

    def _count(self, sentence: str, cases: int) -> int:
        return self._tally.add("/columns/features", sentence, cases)

    @property
    def shape(self) -> InputShape:
        return Vector(features=self._width or 0)


class Pictures:
    """PNG or JPEG files of one size, grey or RGB; the tensor is U8 (n, C, H, W)."""

    dtype = "U8"
    batch_rows = BATCH_ROWS

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._shape: Image | None = None
        warnings.simplefilter("error", Pillow.DecompressionBombWarning)

    @staticmethod
    def reads(kind: pa.DataType) -> bool:
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:     # {bytes, path} of Hugging Face
            kind = kind.field("bytes").type
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    def read(self, column: pa.Array) -> bytes | None:
        encoded = pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column
        bad = self._count("rows without a picture", encoded.null_count)
        pixels = [self._decode(one) for one in encoded.drop_null().to_pylist()]
        whole = [one for one in pixels if one is not None]
        return None if bad or len(whole) < len(pixels) else b"".join(whole)

    def _decode(self, encoded: bytes) -> bytes | None:
        try:
            with Pillow.open(BytesIO(encoded), formats=("PNG", "JPEG")) as picture:
                return self._pixels(picture) if self._fits(picture) else None
        except UNREADABLE:
            self._count("pictures that cannot be decoded (PNG and JPEG can)", 1)
            return None

    def _fits(self, picture: Pillow.Image) -> bool:
        """Judge by the file's head, before a pixel is unpacked."""
        if max(picture.size) > MAX_SIDE:
            return not self._count(f"pictures larger than {MAX_SIDE} × {MAX_SIDE}", 1)
        if picture.mode not in {"L", "RGB"}:
            return not self._count("pictures neither grey nor RGB with 8 bits", 1)
        shape = Image(channels=1 if picture.mode == "L" else 3, height=picture.height, width=picture.width)
        self._shape = self._shape or shape
        return shape == self._shape or not self._count("pictures of another size or colour than the first", 1)

    @staticmethod
    def _pixels(picture: Pillow.Image) -> bytes:
        """Channel after channel, where Pillow interleaves them."""
        return b"".join(band.tobytes() for band in picture.split())

    def _count(self, sentence: str, cases: int) -> int:
        return self._tally.add("/columns/image", sentence, cases)

    @property
    def shape(self) -> InputShape:
        if self._shape is None:
            raise ValueError("no picture was read")
        return self._shape


class Texts:
    """Texts of one word at least; the tensor is I32 (n, length), the numbers of the first words."""

    dtype = "I32"

    def __init__(self, shape: Tokens, tally: Tally) -> None:
        self.shape: InputShape = shape
        self.batch_rows = min(BATCH_BYTES // (4 * shape.length), BATCH_ROWS)     # a short text becomes a long row
        self._tokens, self._tally = shape, tally

    @staticmethod
    def reads(kind: pa.DataType) -> bool:
        return is_text(kind)

    def read(self, column: pa.Array) -> bytes | None:
        texts = as_text(column)
        if texts is None:
            self._tally.say("/columns/text", "some texts are not valid UTF-8")
            return None
        bad = self._count("rows without a text", texts.null_count)
        rows, empty = numbers(texts.drop_null().to_pylist(), self._tokens)
        bad += self._count("texts without a word", empty)
        return None if bad else rows.tobytes()

    def _count(self, sentence: str, cases: int) -> int:
        return self._tally.add("/columns/text", sentence, cases)
