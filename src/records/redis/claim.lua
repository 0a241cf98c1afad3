-- Takes a session: a new epoch, the larger of the last plus one and the time.
-- KEYS: the session. ARGV: owner, lease (ms).
-- The epoch; or '-1' unknown, '-2' held by another.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'record', 'owner', 'epoch', 'expires')
if not held[1] then return '-1' end
if held[2] and held[2] ~= '' and held[2] ~= ARGV[1] and (tonumber(held[4]) or 0) > now then return '-2' end
local epoch = string.format('%.0f', math.max((tonumber(held[3]) or 0) + 1, now))
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'epoch', epoch,
    'expires', string.format('%.0f', now + ARGV[2]), 'runs', '1')
return epoch
