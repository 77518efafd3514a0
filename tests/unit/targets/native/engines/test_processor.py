from pathlib import Path

import pytest

from freehold.targets.native.engines import processor

X86 = "processor : 0\nflags : fpu vme sse sse2 avx avx2 fma md_clear\nprocessor : 1\nflags : fpu\n"
ARM = "processor : 0\nFeatures : fp asimd evtstrm i8mm\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (X86, {"sse", "sse2", "avx", "avx2", "fma"}),
        (ARM, {"fp", "asimd", "i8mm"}),
        ("nothing of the kind", set()),
    ],
)
def test_instructions_are_read_and_other_flags_left_out(tmp_path: Path, text: str, found: set[str]) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert processor.instructions(tmp_path / "cpuinfo") == found


def test_a_system_that_does_not_tell_has_none(tmp_path: Path) -> None:
    assert processor.instructions(tmp_path / "missing") == frozenset()


def test_this_machine_suits_what_was_built_on_it(tmp_path: Path) -> None:
    processor.save(tmp_path / "built-for")
    assert processor.suits(tmp_path / "built-for")


@pytest.mark.parametrize(("has", "suits"), [({"sse2"}, False), ({"sse2", "avx2"}, True), ({"sse2", "avx2", "avx512f"}, True)])
def test_a_machine_needs_at_least_the_instructions_of_the_build(tmp_path: Path, has: set[str], suits: bool) -> None:
    (tmp_path / "built-for").write_text("sse2\navx2")
    assert processor.suits(tmp_path / "built-for", frozenset(has)) is suits
