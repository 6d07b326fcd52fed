"""The rungs of an audit: what may be tried on a model that was made to forget, from cheap to dear.

Rung 0, the lineage, is in every audit. `needs` is the number of retrained models that a rung cannot do without.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from service.domain.values import Count, OpenShare, Rate, Value


class Population(Value):
    """Rung 1: one attacker for all rows, a threshold on a signal; forget rows against held-out rows of their classes.

    `conventions` adds the attacks that papers report, under their own names and signs.
    """

    needs: ClassVar[int] = 0
    name: Literal["population"] = "population"
    conventions: bool = True


class Relearning(Value):
    """Rung 1b: training on retain rows alone; does accuracy on the forget rows come back? (arXiv:2505.22310)"""

    needs: ClassVar[int] = 0
    name: Literal["relearning"] = "relearning"
    steps: Annotated[int, Field(ge=1, le=10_000)] = 200
    looks: Annotated[int, Field(ge=1, le=100)] = 10
    seeds: Annotated[int, Field(ge=1, le=32)] = 3
    lr: Rate | None = None          # None: a tenth of the recipe's base rate; at the end of a schedule it may be 0
    references: Annotated[int, Field(ge=0, le=64)] = 1      # retrained models that go the same way, where there are any


class Reference(Value):
    """Rung 2: against retrained models. RMIA offline (arXiv:2312.03262), calibrated confidence, relative test.

    `a` None: the value, to a tenth, that the retrained models alone suggest (ours); the audited has no say.
    """

    needs: ClassVar[int] = 2
    name: Literal["reference"] = "reference"
    gamma: Annotated[float, Field(ge=1, le=10)] = 2.0
    a: Annotated[float, Field(ge=0, le=1)] | None = 0.3
    population: Annotated[int, Field(ge=100, le=1_000_000)] = 2_000     # rows z that no model saw, for the ratios


class OracleDistance(Value):
    """Distance to retrained models: tug-of-war, average gap, rUA, fidelity, KS; beside theirs to each other."""

    needs: ClassVar[int] = 1
    name: Literal["oracle_distance"] = "oracle_distance"


class ClassRouting(Value):
    """Where do rows of a forgotten class go? MIA-NN (arXiv:2506.20893), a reconstruction; only for whole classes."""

    needs: ClassVar[int] = 2
    name: Literal["mia_nn"] = "mia_nn"
    reading: Literal["separability", "routing"] = "separability"
    feature: Literal["logits", "probabilities"] = "logits"


class OneRun(Value):
    """Rung 3b: a lower bound on ε from canaries planted before training (Steinke et al., arXiv:2305.08846)."""

    needs: ClassVar[int] = 0
    name: Literal["one_run"] = "one_run"
    guesses: OpenShare = 0.1        # share of the canaries that are guessed, half as in and half as out
    delta: Annotated[float, Field(ge=0, lt=0.1)] = 0.0
    alpha: OpenShare = 0.05
    least: Count = 100              # fewer canaries than these cannot say anything


Rung = Annotated[
    Population | Relearning | Reference | OracleDistance | ClassRouting | OneRun, Field(discriminator="name")
]
