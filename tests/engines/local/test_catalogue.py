from __future__ import annotations

import re

import pytest

from antiphon.engines.local.catalogue import CATALOGUE, JOE


def test_every_file_is_kept_under_a_name_of_its_own_inside_the_directory() -> None:
    targets = [member.target for model in CATALOGUE for member in model.members]
    assert len(set(targets)) == len(targets)
    assert all(not target.startswith("/") and ".." not in target for target in targets)


def test_every_file_is_pinned_by_size_and_hash() -> None:
    for model in CATALOGUE:
        for member in model.members:
            assert re.fullmatch(r"[0-9a-f]{64}", member.sha256), member.target
            assert member.size > 0
        assert re.fullmatch(r"[a-z0-9-]+==\d+(\.\d+)+", model.package.requirement)


def test_a_file_is_found_by_its_ending() -> None:
    assert JOE.target(".onnx").target.endswith("en_US-joe-medium.onnx")
    with pytest.raises(KeyError, match="joe has no file"):
        JOE.target(".gguf")
