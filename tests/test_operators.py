"""The table of operator traits."""

import onnx.defs
import pytest

from onnxcam.graph.operators import TRAITS, Trait, operators

OF_THE_RUNTIME = {"ReorderInput", "ReorderOutput", "QLinearAveragePool", "QLinearGlobalAveragePool"}


@pytest.mark.parametrize("name", TRAITS)
def test_an_operator_exists(name: str) -> None:
    assert name in OF_THE_RUNTIME or onnx.defs.has(name)
    assert TRAITS[name]


@pytest.mark.parametrize("trait", Trait)
def test_a_trait_has_operators(trait: Trait) -> None:
    assert operators(trait)


def test_several_traits_give_the_union() -> None:
    assert operators(Trait.COPIES | Trait.QUANTISES) == {"Identity", "Cast", "QuantizeLinear", "DequantizeLinear"}


def test_what_rearranges_moves() -> None:
    rearranges = Trait.COPIES | Trait.RESHAPES | Trait.CUTS | Trait.REPEATS | Trait.INTERLEAVES
    assert operators(rearranges) < operators(Trait.MOVES)
    assert operators(Trait.RECTIFIES) < operators(Trait.ACTIVATES)


def test_the_table_is_frozen() -> None:
    with pytest.raises(TypeError):
        TRAITS["Identity"] = Trait.GATES  # type: ignore[index]
