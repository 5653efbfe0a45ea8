from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from antiphon.errors import UsageError
from antiphon.platform.secrets import ClientSecrets
from antiphon.platform.store import Store
from antiphon.platform.tables import DEFAULT_PROJECT_ID
from antiphon.platform.tokens import new_token


class Now:
    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment


CONFIG: dict[str, Any] = {"type": "realtime", "instructions": "grüß Gott", "audio": {"output": {"speed": 1.5}}}


async def test_a_secret_brings_its_session_configuration_back_until_it_expires(store: Store) -> None:
    now = Now()
    here, other_worker = ClientSecrets(store, now=now), ClientSecrets(store, now=now)
    value, record = await here.create(DEFAULT_PROJECT_ID, CONFIG, ttl=60)
    assert value.startswith("ek_")
    assert record.expires_at == now.moment + timedelta(seconds=60)
    now.moment += timedelta(seconds=59.9)
    redeemed = await other_worker.redeem(value)
    assert redeemed == record
    assert redeemed is not None
    assert redeemed.session_config == CONFIG
    now.moment += timedelta(seconds=0.1)
    assert await other_worker.redeem(value) is None


async def test_only_a_hash_is_stored(store: Store) -> None:
    value, _ = await ClientSecrets(store).create(DEFAULT_PROJECT_ID, {})
    async with store.read() as session:
        rows = (await session.execute(text("SELECT * FROM client_secrets"))).all()
    assert len(rows) == 1
    assert value not in repr(rows)


@pytest.mark.parametrize("value", ["", "ek_short", "ak_" + "x" * 43, new_token("ek_")])
async def test_other_values_are_refused(store: Store, value: str) -> None:
    assert await ClientSecrets(store).redeem(value) is None


async def test_expired_secrets_are_cleared_away(store: Store) -> None:
    now = Now()
    secrets = ClientSecrets(store, now=now)
    await secrets.create(DEFAULT_PROJECT_ID, {}, ttl=10)
    now.moment += timedelta(hours=1)
    await secrets.create(DEFAULT_PROJECT_ID, {}, ttl=10)
    async with store.read() as session:
        assert await session.scalar(text("SELECT count(*) FROM client_secrets")) == 1


@pytest.mark.parametrize("ttl", [0, 9.9, 7201])
async def test_a_lifetime_out_of_range_is_refused(store: Store, ttl: float) -> None:
    with pytest.raises(UsageError, match="10 to 7200 seconds, got"):
        await ClientSecrets(store).create(DEFAULT_PROJECT_ID, {}, ttl=ttl)


async def test_an_unknown_project_is_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="no project"):
        await ClientSecrets(store).create("proj_missing", {})
