"""A logistic regression on one number per row, judged on rows that it did not learn from, ten times.

The attack of the NeurIPS 2023 unlearning challenge's starting kit, which ∇τ's code uses as well.
"""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit

from worker.signals import Array


def crossed(members: Array, others: Array) -> float:
    """Mean accuracy over ten stratified splits, each with a tenth of the rows to judge by; seed 0."""
    x = np.concatenate([members, others])[:, None]
    y = np.repeat([1, 0], [len(members), len(others)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)      # huge losses are not scaled, as in theirs
        return float(np.mean([
            LogisticRegression().fit(x[fit], y[fit]).score(x[judge], y[judge])
            for fit, judge in StratifiedShuffleSplit(n_splits=10, random_state=0).split(x, y)
        ]))
