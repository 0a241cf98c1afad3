-- Begins a request that shall be done once.
-- KEYS: the request. ARGV: fingerprint of its body, session that it would make, how long it may run (ms), a session that it
-- has made and that is gone ('' for none): the key went with it.
-- {'new' | 'running' | 'reused' | 'done', the session that the key stands for}.
local body, made, done = unpack(redis.call('HMGET', KEYS[1], BODY, MADE, DONE))
if body and not (done and made == ARGV[4]) then
    -- The same call again, whose answer was lost on its way.
    if not done and body == ARGV[1] and made == ARGV[2] then return { 'new', made } end
    local what = body ~= ARGV[1] and 'reused' or done and 'done' or 'running'
    return { what, made }
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], BODY, ARGV[1], MADE, ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return { 'new', ARGV[2] }
