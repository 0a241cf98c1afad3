-- Gives a session up: for good ('0': it needs no link task), or to the next owner ('1').
-- KEYS: the session. ARGV: owner, epoch, whether it is to run on.
-- 1: done. 0: it is another's, or was claimed again since, and stays so.
local record, owner, epoch, expires = unpack(redis.call('HMGET', KEYS[1], RECORD, OWNER, EPOCH, EXPIRES))
if not record then return 1 end
if epoch ~= ARGV[2] then return 0 end
owner = owner_at(time(), owner, expires)
if owner ~= '' and owner ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], OWNER, '', EXPIRES, '0', RUNS, ARGV[3])
return 1
