"""Decimals over one power of ten: what a tuple of their Fractions is."""

from fractions import Fraction

import pytest

from costmodels.decimals import Decimals

HALF_AND_THIRD = (Fraction(1, 2), Fraction(333, 1000))


def test_decimals_are_the_tuple_of_their_fractions() -> None:
    found = Decimals([500, 333], 1000)
    assert found == HALF_AND_THIRD and tuple(found) == HALF_AND_THIRD and tuple(found) == HALF_AND_THIRD
    assert repr(found) == repr(HALF_AND_THIRD) and hash(found) == hash(HALF_AND_THIRD)
    assert found[-1] == Fraction(333, 1000) and found[:1] == (Fraction(1, 2),) and len(found) == 2
    assert max(found) == Fraction(1, 2) and bool(found) and not Decimals([], 1)
    with pytest.raises(IndexError):
        found[2]


def test_decimals_of_other_scales_are_equal_by_value() -> None:
    assert Decimals([5, 10], 10) == Decimals([50, 100], 100)
    assert Decimals([5, 10], 10) != Decimals([5, 10], 100)
    assert Decimals([5], 10) != (Fraction(1, 3),)
