from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from antiphon.platform.tokens import hashed, looks_like, new_id, new_token, utc_now

prefixes = st.sampled_from(["ak_", "ek_"])


@given(prefixes)
def test_a_token_fits_a_header_a_subprotocol_and_a_url(prefix: str) -> None:
    token = new_token(prefix)
    assert re.fullmatch(prefix + r"[A-Za-z0-9_-]{43}", token)
    assert looks_like(token, prefix)


@given(prefixes, st.text())
def test_other_text_does_not_look_like_one(prefix: str, text: str) -> None:
    assert looks_like(text, prefix) == bool(text.startswith(prefix) and len(text) == 46 and text.isascii())
    assert not looks_like(new_token(prefix) + text + "x", prefix)


@given(st.text(), st.text())
def test_hashes_tell_values_apart(one: str, other: str) -> None:
    assert (hashed(one) == hashed(other)) == (one == other)
    assert re.fullmatch(r"[0-9a-f]{64}", hashed(one))


def test_tokens_and_ids_do_not_repeat() -> None:
    assert len({new_token("ak_") for _ in range(1000)}) == 1000
    assert len({new_id("key_") for _ in range(1000)}) == 1000


def test_now_is_aware() -> None:
    assert utc_now().tzinfo is not None
