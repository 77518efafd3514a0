"""Every program that has an image has the facts that are needed to run it."""

from __future__ import annotations

import pytest

from freehold.core.errors import NotSupported
from freehold.targets.compose.images import IMAGES, image
from freehold.targets.compose.render import OURS
from freehold.targets.versions import versions


def test_every_image_has_its_facts_and_the_other_way_round() -> None:
    assert {program for program, version in versions().items() if version.image} == IMAGES.keys() - OURS


def test_every_image_names_an_exact_version() -> None:
    tags = {program: (version.image or "").rpartition(":")[2] for program, version in versions().items() if version.image}
    assert [program for program, tag in tags.items() if tag == "latest" or not any(letter.isdigit() for letter in tag)] == []


def test_a_program_without_an_image_is_refused_by_name() -> None:
    with pytest.raises(NotSupported, match="fortune does not run in containers"):
        image("fortune")
