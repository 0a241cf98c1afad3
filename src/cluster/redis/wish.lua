-- Writes down what the owner of a session is to do, and tells it.
-- KEYS: the session. ARGV: the wish, beginning of an owner's channel, session.
-- 1: it was told. 0: the session has no owner now. -1: there is no such session.
local held = redis.call('HMGET', KEYS[1], 'record', 'owner', 'expires')
if not held[1] then return -1 end
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('HSET', KEYS[1], 'wish', ARGV[1], 'wished', string.format('%.0f', now))
if not held[2] or held[2] == '' or (tonumber(held[3]) or 0) <= now then return 0 end
redis.call('PUBLISH', ARGV[2] .. held[2], ARGV[3])
return 1
