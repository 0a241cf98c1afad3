-- Begins a request that shall be done once.
-- KEYS: the request. ARGV: fingerprint of its body, session that it would make, how long it may run (ms).
-- 'new' | 'running' | 'reused' | the session it has made.
local known = redis.call('HMGET', KEYS[1], 'body', 'session', 'done')
if known[1] then
    if known[1] ~= ARGV[1] then return 'reused' end
    if known[3] then return known[2] end
    -- The same call again, whose answer was lost on its way.
    if known[2] == ARGV[2] then return 'new' end
    return 'running'
end
redis.call('HSET', KEYS[1], 'body', ARGV[1], 'session', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 'new'
