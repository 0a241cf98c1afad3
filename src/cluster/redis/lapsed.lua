-- Whether a session waits for an owner.
-- KEYS: the session. ARGV: for how long another's lease must have lapsed (ms; -1: only one without an owner waits), who asks.
-- {1, 0}: it does. {0, when its lease lapses}: it has an owner. {-1, 0}: it is not to run. {-2, 0}: there is none.
local record, owner, expires, runs = unpack(redis.call('HMGET', KEYS[1], RECORD, OWNER, EXPIRES, RUNS))
if not record then return { -2, '0' } end
if runs ~= '1' then return { -1, '0' } end
if not owner or owner == '' then return { 1, '0' } end
expires = tonumber(expires) or 0
local since = tonumber(ARGV[1])
-- Whoever asks knows best whether its own link task still runs.
if owner == ARGV[2] then since = 0 end
if since >= 0 and expires + since <= time() then return { 1, '0' } end
return { 0, text(expires) }
