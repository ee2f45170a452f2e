"""Write onnxcam/assets/imagenet_words.txt: the words of WordNet for the classes of ImageNet-1k.

    python tools/imagenet_words.py WORDNET SYNSETS [OUT]

WORDNET is the folder `dict` of WordNet 3.0 (Debian: package wordnet-base, /usr/share/wordnet); SYNSETS lists the ids of
the 1,000 classes in their order, such as n02123045, one a line (timm: timm/data/_info/imagenet_synsets.txt).
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

from onnxcam.metadata.class_words import ranges

OUT = Path(__file__).parents[1] / "onnxcam" / "assets" / "imagenet_words.txt"
HEADER = """\
# Words of WordNet 3.0 for the classes of ImageNet-1k, made by tools/imagenet_words.py: the words of one
# meaning, and the classes that it covers.
#
# WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved.
# This software and database is being provided to you, the LICENSEE, by Princeton University under the following
# license. By obtaining, using and/or copying this software and database, you agree that you have read, understood, and
# will comply with these terms and conditions.:
# Permission to use, copy, modify and distribute this software and database and its documentation for any purpose and
# without fee or royalty is hereby granted, provided that you agree to comply with the following copyright notice and
# statements, including the disclaimer, and that the same appear on ALL copies of the software, database and
# documentation, including modifications that you make for internal use or for distribution.
# THIS SOFTWARE AND DATABASE IS PROVIDED "AS IS" AND PRINCETON UNIVERSITY MAKES NO REPRESENTATIONS OR WARRANTIES,
# EXPRESS OR IMPLIED. BY WAY OF EXAMPLE, BUT NOT LIMITATION, PRINCETON UNIVERSITY MAKES NO REPRESENTATIONS OR WARRANTIES
# OF MERCHANTABILITY OR FITNESS FOR ANY PARTICULAR PURPOSE OR THAT THE USE OF THE LICENSED SOFTWARE, DATABASE OR
# DOCUMENTATION WILL NOT INFRINGE ANY THIRD PARTY PATENTS, COPYRIGHTS, TRADEMARKS OR OTHER RIGHTS.
# The name of Princeton University or Princeton may not be used in advertising or publicity pertaining to distribution
# of the software and/or database. Title to copyright in this software, database and any associated documentation shall
# at all times remain with Princeton University and LICENSEE agrees to preserve same.
"""
HYPERNYMS = ("@", "@i")


def nouns(dict_: Path) -> dict[int, tuple[list[str], list[int]]]:
    """Return the words and the hypernyms of each noun synset by its offset (format: wndb(5))."""
    found = {}
    for line in (dict_ / "data.noun").read_text("utf-8").splitlines():
        if line.startswith("  "):
            continue
        fields = line.partition(" | ")[0].split()
        count = int(fields[3], 16)
        words = [word.replace("_", " ") for word in fields[4 : 4 + 2 * count : 2]]
        pointers = fields[5 + 2 * count :]
        above = [int(pointers[n + 1]) for n in range(0, len(pointers), 4) if pointers[n] in HYPERNYMS]
        found[int(fields[0])] = words, above
    return found


def main(wordnet: str, synsets: str, out: str | Path = OUT) -> None:
    """Write the words of each synset at or above a class, and the classes below it."""
    known, classes = nouns(Path(wordnet)), defaultdict(set)
    for number, line in enumerate(Path(synsets).read_text("utf-8").split()):
        waiting = [int(line.removeprefix("n"))]
        while waiting:
            one = waiting.pop()
            classes[one].add(number)
            waiting += known[one][1]
    lines = [f"{ranges(sorted(classes[one]))}\t{', '.join(known[one][0])}" for one in sorted(classes)]
    Path(out).write_text(HEADER + "\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
