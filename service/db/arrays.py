"""Membership in long lists: one array parameter, where IN would need a parameter for each value."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, any_, cast
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import InstrumentedAttribute


def among(column: InstrumentedAttribute[Any], values: Iterable[Any]) -> ColumnElement[bool]:
    """Whether the column's value is one of these."""
    return column == any_(cast(list(values), ARRAY(column.type)))
