"""What stops a run that ascends."""

from typing import Annotated

from pydantic import Field

from service.domain.values import Rate, Value


class AscentGuard(Value):
    """Looks at the validation rows after every epoch; stops, or returns to the last good weights (arXiv:2509.26427).

    The paper shows what goes wrong and names no procedure: the rules are ours. Which of them ended a run, 1 to 4, is
    `guard_rule` in the last entry of its log. It is meant for ascent without bound: ∇τ loses accuracy on unseen rows at
    first and regains it by itself, and a guard would end it before that.
    """

    stop_when_unseen: bool = True       # R1: stop once the forget rows are no better known than the validation rows
    tolerance: Annotated[float, Field(gt=0, le=10)] = 2.0   # R2: standard errors of validation accuracy that may go
    collateral: Rate | None = 0.5       # R3: most that the validation loss may rise per unit of forget loss
    radius: Annotated[float, Field(gt=0)] | None = None     # R4: farthest that the weights may go, ‖θ − θ₀‖
