-- Stores a new session, owned by the caller.
-- KEYS: the session. ARGV: record, owner, created (Unix ms), lease (ms).
-- The epoch, or 0 when there is such a session.
local now = time()
local record, stored, owner = unpack(redis.call('HMGET', KEYS[1], RECORD, EPOCH, OWNER))
if record then
    -- The same was done before, and the answer was lost on its way.
    if record == ARGV[1] and owner == ARGV[2] then return stored end
    return '0'
end
local epoch = epoch_after(stored, now)
redis.call('HSET', KEYS[1], RECORD, ARGV[1], OWNER, ARGV[2], EPOCH, epoch, EXPIRES, text(now + ARGV[3]), RUNS, '1')
return epoch
