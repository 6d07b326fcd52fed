"""Recipes from the words of a command line."""

import pytest

from service.domain.recipes import PRESETS, AndMask, NablaTau, ProbMask, RandomLabel, Scrub
from service.errors import BadInput
from worker.choosing import chosen


@pytest.mark.parametrize(("words", "meant"), [
    (("nabla_tau",), NablaTau()),
    (("paper:salun",), PRESETS["paper:salun"].method),
    (('{"name": "scrub", "lr": 0.01}',), Scrub(lr=0.01)),
    (("scrub", "lr=1e-2"), Scrub(lr=0.01)),
    (("random_label", "mask.name=prob", "mask.p=0.4"), RandomLabel(mask=ProbMask(p=0.4))),
    (("salun", "mask.name=and"), RandomLabel(mask=AndMask())),
    (("nabla_tau", "lr=null", "target=mean"), NablaTau(target="mean")),
])
def test_a_recipe_is_named_and_set(words, meant):
    name, *settings = words

    assert chosen(name, settings) == meant


@pytest.mark.parametrize(("words", "said"), [
    (("forget_it",), "there are: bad_teacher"),
    (("scrub", "lr"), "name=value"),
    (("scrub", "speed=2"), "speed"),
    (("scrub", "lr=-1"), "lr"),
    (("fine_tune", "mask.name=and"), "mask"),
    (("random_label", "mask.name=prob", "mask.p=1.5"), "mask.prob.p"),
    (("random_label", "order=sequential", "mask.name=and"), "paired"),
    (("[1]",), "no method"),
])
def test_what_is_no_recipe_is_told(words, said):
    name, *settings = words

    with pytest.raises(BadInput, match=said):
        chosen(name, settings)
