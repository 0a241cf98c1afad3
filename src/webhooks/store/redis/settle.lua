-- Somebody has looked at a session: when the next one is to.
-- KEYS: its shard of the list. ARGV: the session, the moment that was seen, the next one ('' for never).
-- 1: done. 0: it was put on the list since, and stays as it is.
local seen = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not seen or tonumber(seen) ~= tonumber(ARGV[2]) then return 0 end
if ARGV[3] == '' then return redis.call('ZREM', KEYS[1], ARGV[1]) end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
return 1
