"""What is counted over time, in Valkey: runs a minute and tokens a day, by owner and by organisation.

One script looks at all counters of a request and raises them together or not at all, on Valkey's own clock, so that any number of
servers count as one. Counters are not kept for ever and not backed up: a Valkey that comes back empty has forgotten the day, and one
that is away refuses nobody; `freehold_quota_unchecked_total` says how often.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Sequence

import redis.asyncio as redis
from redis.exceptions import RedisError

from freehold.config.settings import QuotasSection
from freehold.telemetry.metrics import QUOTA_UNCHECKED

log = logging.getLogger(__name__)

#: A run does not wait longer than this to be counted; and nothing is counted for a while after that.
PATIENCE_SECONDS = 0.5
PAUSE_SECONDS = 2.0

#: Runs of the last 60 seconds are kept by the second: `HGETALL` reads 60 fields at most, whatever the limit.
_ADMIT = """
local now = tonumber(redis.call('TIME')[1])
local function wait(key, limit)
  local used, seconds = 0, {}
  local fields = redis.call('HGETALL', key)
  for place = 1, #fields, 2 do
    local second, count = tonumber(fields[place]), tonumber(fields[place + 1])
    if second <= now - 60 then
      redis.call('HDEL', key, fields[place])
    else
      used = used + count
      seconds[#seconds + 1] = {second, count}
    end
  end
  if used < limit then return 0 end
  table.sort(seconds, function(a, b) return a[1] < b[1] end)
  local over = used + 1 - limit
  for _, entry in ipairs(seconds) do
    over = over - entry[2]
    if over <= 0 then return entry[1] + 60 - now end
  end
  return 60
end
for place = 1, 2 do
  local limit = tonumber(ARGV[place])
  if limit > 0 then
    local seconds = wait(KEYS[place], limit)
    if seconds > 0 then return {place, seconds} end
  end
end
for place = 3, 4 do
  local limit = tonumber(ARGV[place])
  if limit > 0 and tonumber(redis.call('GET', KEYS[place]) or '0') >= limit then
    return {place, 86400 - now % 86400}
  end
end
for place = 1, 2 do
  if tonumber(ARGV[place]) > 0 then
    redis.call('HINCRBY', KEYS[place], now, 1)
    redis.call('EXPIRE', KEYS[place], 61)
  end
end
return {0, 0}
"""

#: Tokens of a day are forgotten at its end, midnight UTC.
_SPEND = """
local now = tonumber(redis.call('TIME')[1])
for place = 1, 2 do
  redis.call('INCRBY', KEYS[place], ARGV[1])
  redis.call('EXPIREAT', KEYS[place], now - now % 86400 + 86400)
end
"""

#: Keys of `[quotas]` in the order of the script's counters.
_NAMES = ("runs_per_minute", "organisation.runs_per_minute", "tokens_per_day", "organisation.tokens_per_day")


class UsageCounters:
    """Counters of all owners. Never raises because Valkey is away."""

    def __init__(self, client: redis.Redis) -> None:
        self._admit = client.register_script(_ADMIT)
        self._spend = client.register_script(_SPEND)
        self._away_until = 0.0

    async def admit(self, organisation: str, owner: str, limits: QuotasSection) -> tuple[str, int] | None:
        """Count one more run, or say what is used up and the seconds until there is room, and count nothing."""
        whole = limits.organisation
        asked = (limits.runs_per_minute, whole.runs_per_minute, limits.tokens_per_day, whole.tokens_per_day)
        if time.monotonic() < self._away_until:
            QUOTA_UNCHECKED.inc()
            return None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                place, seconds = await self._admit(keys=_keys(organisation, owner), args=[limit or 0 for limit in asked])
        except (RedisError, TimeoutError) as error:
            QUOTA_UNCHECKED.inc()
            self._away_until = time.monotonic() + PAUSE_SECONDS
            log.warning("quotas are not checked: %s", type(error).__name__, extra={"action": "quota_unchecked"})
            return None
        return (_NAMES[place - 1], int(seconds)) if place else None

    async def spend(self, organisation: str, owner: str, tokens: int) -> None:
        """Tokens that models read and wrote for somebody. Lost while Valkey is away."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._spend(keys=_keys(organisation, owner)[2:], args=[tokens])
        except (RedisError, TimeoutError) as error:
            log.warning("%d tokens are not counted: %s", tokens, type(error).__name__, extra={"action": "tokens_uncounted"})


def _keys(organisation: str, owner: str) -> Sequence[str]:
    """Names may hold anything, also each other's separators, so keys hold their digests."""
    whole = hashlib.sha256(organisation.encode()).hexdigest()[:32]
    own = hashlib.sha256(f"{len(organisation)}/{organisation}/{owner}".encode()).hexdigest()[:32]
    return [f"freehold:quota:{kind}:{whose}" for kind in ("runs", "tokens") for whose in (own, f"all:{whole}")]
