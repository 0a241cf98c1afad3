-- Renews a lease, also one that has lapsed, as long as nobody else has claimed the session.
-- KEYS: the session. ARGV: owner, epoch, lease (ms), how long a wish stands (ms).
-- {when it lapses now (Redis time), 1: its owner is wanted}; or '0' when it is not ours any more, '-1' when Redis has lost
-- this ownership.
local held = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'deleted', 'wished')
if (tonumber(held[2]) or 0) < tonumber(ARGV[2]) then return { '-1', 0 } end
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then return { '0', 0 } end
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local expires = string.format('%.0f', now + ARGV[3])
redis.call('HSET', KEYS[1], 'expires', expires)
local wanted = held[3] or (tonumber(held[4]) or 0) + ARGV[4] > now
return { expires, wanted and 1 or 0 }
