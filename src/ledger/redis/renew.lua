-- Renews a lease, also one that has lapsed, as long as nobody else has claimed the session.
-- KEYS: the session. ARGV: owner, epoch, lease (ms).
-- When it lapses now (Redis time), or '0' when it is not ours any more, '-1' when the session is not there.
local held = redis.call('HMGET', KEYS[1], 'owner', 'epoch')
if not held[2] then return '-1' end
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then return '0' end
local now = redis.call('TIME')
local expires = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[3])
redis.call('HSET', KEYS[1], 'expires', expires)
return expires
