-- Whether a session waits for an owner.
-- KEYS: the session. ARGV: how long it must have waited (ms).
-- {1, 0}: it does. {0, when its lease lapses}: it has an owner. {-1, 0}: it is not to run. {-2, 0}: there is none.
local held = redis.call('HMGET', KEYS[1], 'record', 'owner', 'expires', 'runs')
if not held[1] then return { -2, '0' } end
if held[4] ~= '1' then return { -1, '0' } end
if not held[2] or held[2] == '' then return { 1, '0' } end
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local expires = tonumber(held[3]) or 0
if expires + ARGV[1] <= now then return { 1, '0' } end
return { 0, string.format('%.0f', expires) }
