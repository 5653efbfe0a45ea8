from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.errors import ApiError
from antiphon.platform.keys import ServiceKeys
from antiphon.platform.secrets import ClientSecrets
from antiphon.platform.store import Store
from antiphon.platform.tables import DEFAULT_PROJECT_ID
from antiphon.platform.tokens import new_token
from antiphon.server.auth import Authenticator, bearer


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'antiphon.db'}") as opened:
        yield opened


async def test_a_service_key_opens_rest_and_sessions(store: Store) -> None:
    keys = ServiceKeys(store)
    auth = Authenticator(keys, ClientSecrets(store))
    value, record = await keys.create("k")
    principal = await auth.principal(value)
    assert (principal.project_id, principal.key_id) == (DEFAULT_PROJECT_ID, record.id)
    admission = await auth.admit(value)
    assert admission.principal == principal
    assert admission.session_config is None


async def test_a_client_secret_opens_sessions_only(store: Store) -> None:
    secrets = ClientSecrets(store)
    auth = Authenticator(ServiceKeys(store), secrets)
    value, record = await secrets.create(DEFAULT_PROJECT_ID, {"voice": "alba"})
    admission = await auth.admit(value)
    assert admission.session_config == {"voice": "alba"}
    assert admission.principal.key_id == record.id
    with pytest.raises(ApiError) as caught:
        await auth.principal(value)
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")


@pytest.mark.parametrize("credential", [None, "", "nonsense", new_token("ak_"), new_token("ek_")])
async def test_others_are_refused_without_repeating_what_they_sent(store: Store, credential: str | None) -> None:
    auth = Authenticator(ServiceKeys(store), ClientSecrets(store))
    for ask in (auth.principal, auth.admit):
        with pytest.raises(ApiError) as caught:
            await ask(credential)
        assert caught.value.status == 401
        assert not credential or credential not in str(caught.value)


async def test_anonymous_admission_does_not_cover_spent_credentials(store: Store) -> None:
    auth = Authenticator(ServiceKeys(store), ClientSecrets(store), allow_anonymous=True)
    for credential in (None, "", "sk-somebody"):
        assert (await auth.admit(credential)).principal.key_id is None
    for prefix in ("ak_", "ek_"):
        with pytest.raises(ApiError):
            await auth.admit(new_token(prefix))


@given(st.sampled_from(["Bearer", "bearer", "BEARER"]), st.from_regex(r"[A-Za-z0-9_.-]+", fullmatch=True))
def test_the_bearer_scheme_is_read_whatever_its_case(scheme: str, credential: str) -> None:
    assert bearer(f"{scheme} {credential}") == credential
    assert bearer(f"{scheme}  {credential} ") == credential
    assert bearer(f"Basic {credential}") is None


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "ak_x"])
def test_headers_without_a_bearer_credential(header: str | None) -> None:
    assert bearer(header) is None
