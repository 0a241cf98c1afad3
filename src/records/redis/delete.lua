-- Marks a session as deleted, so that it gets a link task that logs it out, and tells its owner; the first mark stays.
-- KEYS: the session. ARGV: when (Unix ms), beginning of an owner's channel, session.
-- -1: there is no such session. 0: it was deleted before. 1: its owner was told. 2: it has none now.
if redis.call('HEXISTS', KEYS[1], RECORD) == 0 then return -1 end
if redis.call('HSETNX', KEYS[1], DELETED, ARGV[1]) == 0 then return 0 end
local owner = owner_at(time(), unpack(redis.call('HMGET', KEYS[1], OWNER, EXPIRES)))
redis.call('HSET', KEYS[1], RUNS, '1')
if owner ~= '' then
    redis.call('PUBLISH', ARGV[2] .. owner, ARGV[3])
    return 1
end
redis.call('HSET', KEYS[1], OWNER, '', EXPIRES, '0')
return 2
