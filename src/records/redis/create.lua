-- Stores a new session, owned by the caller.
-- KEYS: the session. ARGV: record, owner, created (Unix ms), lease (ms).
-- The epoch, or 0 when there is such a session.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'record', 'epoch', 'owner')
if held[1] then
    -- The same was done before, and the answer was lost on its way.
    if held[1] == ARGV[1] and held[3] == ARGV[2] then return held[2] end
    return '0'
end
local epoch = string.format('%.0f', math.max((tonumber(held[2]) or 0) + 1, now))
redis.call('HSET', KEYS[1], 'record', ARGV[1], 'owner', ARGV[2], 'epoch', epoch,
    'expires', string.format('%.0f', now + ARGV[3]), 'runs', '1')
return epoch
