"""The audit report, as the service publishes it and the worker fills it in."""

from service.domain.report.controls import (
    Accuracy,
    Controls,
    NullControl,
    OracleControl,
    PositiveControl,
    Power,
    Utility,
)
from service.domain.report.evidence import (
    ClassRemoval,
    Distances,
    EpsilonBound,
    Klom,
    RecipeEvidence,
    RelativeTest,
    Relearning,
)
from service.domain.report.numbers import Claim, Interval, Number
from service.domain.report.recipe import PerExample, RecipeReport, Seen
from service.domain.report.report import AuditReport, Found, Headline, NextRung, Reason, Verdict, VerdictValue
from service.domain.report.results import (
    Compared,
    Convention,
    Histogram,
    MaxStatistic,
    Person,
    Persons,
    Result,
    Roc,
    Stratum,
    TprAt,
)
from service.domain.report.sets import Cost, ForgetSet, Heldout, PopulationZ, References, Skipped, Subject

__all__ = [
    "Accuracy", "AuditReport", "Claim", "ClassRemoval", "Compared", "Controls", "Convention", "Cost",
    "Distances", "EpsilonBound", "ForgetSet", "Found", "Headline", "Heldout", "Histogram", "Interval", "Klom",
    "MaxStatistic", "NextRung", "NullControl", "Number", "OracleControl", "PerExample", "Person", "Persons",
    "PopulationZ", "PositiveControl", "Power", "Reason", "RecipeEvidence", "RecipeReport", "References",
    "RelativeTest", "Relearning", "Result", "Roc", "Seen", "Skipped", "Stratum", "Subject", "TprAt", "Utility",
    "Verdict", "VerdictValue",
]
