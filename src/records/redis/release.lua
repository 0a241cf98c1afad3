-- Gives a session up: for good ('0': it needs no link task), or to the next owner ('1').
-- KEYS: the session. ARGV: owner, epoch, whether it is to run on.
-- 1: done. 0: it is another's, or was claimed again since, and stays so.
local held = redis.call('HMGET', KEYS[1], 'record', 'owner', 'epoch', 'expires')
if not held[1] then return 1 end
if held[3] ~= ARGV[2] then return 0 end
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
if held[2] and held[2] ~= '' and held[2] ~= ARGV[1] and (tonumber(held[4]) or 0) > now then return 0 end
redis.call('HSET', KEYS[1], 'owner', '', 'expires', '0', 'runs', ARGV[3])
return 1
