-- Gives a session up: for good ('0': it needs no link task), or to the next owner ('1').
-- KEYS: the session. ARGV: owner, whether it is to run on.
-- 1: done. 0: it is another's, and stays so.
local held = redis.call('HMGET', KEYS[1], 'record', 'owner')
if not held[1] then return 1 end
if held[2] and held[2] ~= '' and held[2] ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'owner', '', 'expires', '0', 'runs', ARGV[2])
return 1
