-- Begins a request that shall be done once.
-- KEYS: the request. ARGV: fingerprint of its body, session that it would make, how long it may run (ms), a session that it
-- has made and that is gone ('' for none): the key went with it.
-- {'new' | 'running' | 'reused' | 'done', the session that the key stands for}.
local known = redis.call('HMGET', KEYS[1], 'body', 'session', 'done')
if known[1] and not (known[3] and known[2] == ARGV[4]) then
    -- The same call again, whose answer was lost on its way.
    if not known[3] and known[1] == ARGV[1] and known[2] == ARGV[2] then return { 'new', known[2] } end
    local what = known[1] ~= ARGV[1] and 'reused' or known[3] and 'done' or 'running'
    return { what, known[2] }
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'body', ARGV[1], 'session', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return { 'new', ARGV[2] }
