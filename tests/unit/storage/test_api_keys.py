"""Keys: what they may do, for how long, and what is put in their place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest

from freehold.core.errors import Conflict, NotFound, Unauthenticated
from freehold.core.ids import new_id
from freehold.core.permissions import GROUPS
from freehold.storage.api_keys import PREFIX, ApiKey, ApiKeys, generate
from freehold.storage.pool import Pool, create_pool


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with create_pool(database_url, max_size=4) as opened:
        yield opened


@pytest.fixture
def keys(pool: Pool) -> ApiKeys:
    return ApiKeys(pool)


async def listed(keys: ApiKeys, key_id: UUID) -> ApiKey:
    return next(key for key in await keys.list() if key.key_id == key_id)


async def test_a_key_names_its_owner_and_what_it_may_do(keys: ApiKeys) -> None:
    key = generate()
    key_id = await keys.add(key, name="laptop", owner="ada", organisation="acme", scopes=("read", "store:put"))
    caller = await keys.caller(key)
    assert caller and key.startswith(PREFIX)
    assert (caller.organisation, caller.owner, caller.credential) == ("acme", "ada", f"key:{key_id}")
    assert caller.permissions == GROUPS["read"] | {"store:put"}


async def test_a_key_without_scopes_given_may_do_everything_but_administer(keys: ApiKeys) -> None:
    await keys.add(key := generate(), name="laptop", owner="ada")
    caller = await keys.caller(key)
    assert caller and caller.permissions == GROUPS["write"]


async def test_an_unknown_key_is_nobody(keys: ApiKeys) -> None:
    assert await keys.caller(generate()) is None


async def test_a_key_is_not_stored(keys: ApiKeys, pool: Pool) -> None:
    await keys.add(key := generate(), name="laptop", owner="ada")
    async with pool.connection() as conn:
        rows = await (await conn.execute("SELECT api_keys::text AS row FROM freehold.api_keys")).fetchall()
    assert rows and not any(key in row["row"] or key.removeprefix(PREFIX) in row["row"] for row in rows)


async def test_a_key_that_has_expired_is_refused_and_says_so(keys: ApiKeys) -> None:
    await keys.add(key := generate(), name="laptop", owner="ada", lifetime=timedelta(microseconds=1))
    with pytest.raises(Unauthenticated, match="this API key expired on 20"):
        await keys.caller(key)
    assert (await keys.list())[0].state == "expired"


async def test_a_revoked_key_is_nobody(keys: ApiKeys) -> None:
    key_id = await keys.add(key := generate(), name="laptop", owner="ada")
    await keys.revoke(key_id)
    assert await keys.caller(key) is None
    with pytest.raises(NotFound):
        await keys.revoke(key_id)


async def test_it_is_noted_when_a_key_was_last_used(keys: ApiKeys) -> None:
    key_id = await keys.add(key := generate(), name="laptop", owner="ada")
    assert (await listed(keys, key_id)).last_used_at is None
    await keys.caller(key)
    while (noted := (await listed(keys, key_id)).last_used_at) is None:
        await asyncio.sleep(0.01)
    await asyncio.gather(*(keys.caller(key) for _ in range(5)))
    await ApiKeys(keys._pool).caller(key)  # another server
    await asyncio.sleep(0.1)
    assert (await listed(keys, key_id)).last_used_at == noted  # once a minute


async def test_a_rotated_key_keeps_owner_and_scopes_and_the_old_one_works_for_a_while(keys: ApiKeys) -> None:
    old_id = await keys.add(old := generate(), name="laptop", owner="ada", organisation="acme", scopes=("run",))
    made = await keys.rotate(old_id, new := generate(), grace=timedelta(hours=1))
    before, after = await keys.caller(old), await keys.caller(new)
    assert before == after
    assert (made.name, made.owner, list(made.scopes), made.expires_at) == ("laptop", "ada", ["run"], None)
    old_key = await listed(keys, old_id)
    assert (old_key.state, old_key.replaced_by) == ("rotated", made.key_id)
    assert old_key.expires_at is not None


async def test_without_grace_the_old_key_ends_at_once(keys: ApiKeys) -> None:
    old_id = await keys.add(old := generate(), name="laptop", owner="ada")
    await keys.rotate(old_id, new := generate(), grace=timedelta())
    assert await keys.caller(new)
    with pytest.raises(Unauthenticated, match="expired"):
        await keys.caller(old)


async def test_the_successor_lives_as_long_as_the_key_was_made_for_and_grace_prolongs_nothing(keys: ApiKeys) -> None:
    old_id = await keys.add(generate(), name="laptop", owner="ada", lifetime=timedelta(hours=2))
    before = await listed(keys, old_id)
    made = await keys.rotate(old_id, generate(), grace=timedelta(days=30))
    assert made.expires_at and made.expires_at - made.created_at == timedelta(hours=2)
    assert (await listed(keys, old_id)).expires_at == before.expires_at


async def test_a_key_is_rotated_once(keys: ApiKeys) -> None:
    old_id = await keys.add(generate(), name="laptop", owner="ada")
    outcomes = await asyncio.gather(*(keys.rotate(old_id, generate(), grace=timedelta(hours=1)) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(outcome, ApiKey) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 3


async def test_a_key_that_does_not_work_cannot_be_rotated(keys: ApiKeys) -> None:
    revoked = await keys.add(generate(), name="laptop", owner="ada")
    await keys.revoke(revoked)
    expired = await keys.add(generate(), name="laptop", owner="ada", lifetime=timedelta(microseconds=1))
    for key_id in (revoked, expired, new_id()):
        with pytest.raises(NotFound):
            await keys.rotate(key_id, generate(), grace=timedelta(hours=1))


async def test_the_first_key_of_a_stack_may_administer_it_also_where_it_was_made_by_an_earlier_version(keys: ApiKeys) -> None:
    await keys.add(key := generate(), name="first", owner="local")
    await keys.add(key, name="first", owner="local", scopes=("admin",))
    caller = await keys.caller(key)
    assert caller and caller.permissions == GROUPS["admin"]
    assert len(await keys.list()) == 1
