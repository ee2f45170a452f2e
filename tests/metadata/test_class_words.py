"""Classes by a word: names, plurals, hyphens, spelling, and WordNet's groups of ImageNet's classes."""

from __future__ import annotations

import pytest

from onnxcam.errors import TargetError
from onnxcam.metadata.class_words import PREFIX, SPELLING, WORD, classes_of, ranges, search
from onnxcam.metadata.labels import imagenet

NAMES = ["T-shirt, tee", "traffic_light", "polar bears", "TrafficCone", "家猫", "Café table", "grass", "wolf"]


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("t shirt", {0: WORD}),
        ("TShirts", {0: WORD}),
        ("tee", {0: WORD}),
        ("traffic", {1: WORD, 3: WORD}),
        ("light", {1: WORD}),
        ("bear", {2: WORD}),
        ("猫", {4: WORD}),
        ("cafe", {5: WORD}),
        ("gras", {6: PREFIX}),
        ("wolves", {7: WORD}),
        ("trafic light", {1: SPELLING}),
    ],
)
def test_a_word_finds_names(word: str, found: dict[int, str]) -> None:
    assert search(word, NAMES) == found


def test_nothing_like_it_is_said() -> None:
    with pytest.raises(TargetError, match="no class has the word 'xyzzy' or one like it"):
        search("xyzzy", NAMES)


def test_wordnet_puts_imagenets_classes_below_a_word() -> None:
    names = imagenet()
    found = search("cat", names)
    assert [names[index] for index in list(found)[:3]] == ["tabby", "tiger cat", "Persian cat"]
    assert found[383] == WORD  # a lemur called Madagascar cat is none
    assert ranges(classes_of("cats", names)) == "281-293"
    assert ranges(classes_of("dog", names)) == "151-268"
    assert classes_of("crane", names) == (134, 517)
    assert ranges(classes_of("dog", ["background", *names])) == "152-269"
    assert classes_of("dog", ["tench", "English springer", "cassette player", "chain saw"]) == (1,)
    assert classes_of("dog", ["dog", "person", "stop sign", "hot dog"]) == (0, 3)  # not ImageNet's: by the names
