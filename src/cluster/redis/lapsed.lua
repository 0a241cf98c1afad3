-- Whether a session waits for an owner.
-- KEYS: the session. ARGV: for how long another's lease must have lapsed (ms; -1: only one without an owner waits), who asks.
-- {1, 0}: it does. {0, when its lease lapses}: it has an owner. {-1, 0}: it is not to run. {-2, 0}: there is none.
local held = redis.call('HMGET', KEYS[1], 'record', 'owner', 'expires', 'runs')
if not held[1] then return { -2, '0' } end
if held[4] ~= '1' then return { -1, '0' } end
if not held[2] or held[2] == '' then return { 1, '0' } end
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local expires = tonumber(held[3]) or 0
local since = tonumber(ARGV[1])
-- Whoever asks knows best whether its own link task still runs.
if held[2] == ARGV[2] then since = 0 end
if since >= 0 and expires + since <= now then return { 1, '0' } end
return { 0, string.format('%.0f', expires) }
