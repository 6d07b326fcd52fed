"""Numbers of a report: six digits, and the pairs that make an interval."""

from typing import Annotated, Literal

from pydantic import AfterValidator

Number = Annotated[float, AfterValidator(lambda value: round(value, 6) + 0.0)]      # + 0.0: no negative zero
Interval = tuple[Number, Number]
Claim = Literal["exact", "approximate"]
