-- Writes down what the owner of a session is to do, and tells it.
-- KEYS: the session. ARGV: the wish, beginning of an owner's channel, session.
-- 1: it was told. 0: the session has no owner now. -1: there is no such session.
local now = time()
local record, owner, expires = unpack(redis.call('HMGET', KEYS[1], RECORD, OWNER, EXPIRES))
if not record then return -1 end
redis.call('HSET', KEYS[1], WISH, ARGV[1], WISHED, text(now))
owner = owner_at(now, owner, expires)
if owner == '' then return 0 end
redis.call('PUBLISH', ARGV[2] .. owner, ARGV[3])
return 1
