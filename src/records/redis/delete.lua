-- Marks a session as deleted, so that it gets a link task that logs it out, and tells its owner; the first mark stays.
-- KEYS: the session. ARGV: when (Unix ms), beginning of an owner's channel, session.
-- -1: there is no such session. 0: it was deleted before. 1: its owner was told. 2: it has none now.
if redis.call('HEXISTS', KEYS[1], 'record') == 0 then return -1 end
if redis.call('HSETNX', KEYS[1], 'deleted', ARGV[1]) == 0 then return 0 end
local held = redis.call('HMGET', KEYS[1], 'owner', 'expires')
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('HSET', KEYS[1], 'runs', '1')
if held[1] and held[1] ~= '' and (tonumber(held[2]) or 0) > now then
    redis.call('PUBLISH', ARGV[2] .. held[1], ARGV[3])
    return 1
end
redis.call('HSET', KEYS[1], 'owner', '', 'expires', '0')
return 2
