-- Takes a session: a new epoch, the larger of the last plus one and the time.
-- KEYS: the session. ARGV: owner, lease (ms).
-- The epoch; or '-1' unknown, '-2' held by another.
local now = time()
local record, owner, stored, expires = unpack(redis.call('HMGET', KEYS[1], RECORD, OWNER, EPOCH, EXPIRES))
if not record then return '-1' end
owner = owner_at(now, owner, expires)
if owner ~= '' and owner ~= ARGV[1] then return '-2' end
local epoch = epoch_after(stored, now)
redis.call('HSET', KEYS[1], OWNER, ARGV[1], EPOCH, epoch, EXPIRES, text(now + ARGV[2]), RUNS, '1')
return epoch
