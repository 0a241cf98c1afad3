-- Renews a lease, also one that has lapsed, as long as nobody else has claimed the session.
-- KEYS: the session. ARGV: owner, epoch, lease (ms), how long a wish stands (ms).
-- {when it lapses now (Redis time), 1: its owner is wanted}; or '0' when it is not ours any more, '-1' when Redis has lost
-- this ownership.
local verdict, deleted, wished = fence(KEYS[1], ARGV[1], ARGV[2], DELETED, WISHED)
if verdict ~= 1 then return { tostring(verdict), 0 } end
local now = time()
local expires = text(now + ARGV[3])
redis.call('HSET', KEYS[1], EXPIRES, expires)
local wanted = deleted or (tonumber(wished) or 0) + ARGV[4] > now
return { expires, wanted and 1 or 0 }
