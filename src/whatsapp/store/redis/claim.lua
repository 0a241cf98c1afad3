-- Opens a device to the owner of its session.
-- KEYS: the session. ARGV: owner, epoch.
-- 1: it is open. 0: somebody else owns the session. -1: Redis has lost this ownership.
local held = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'device')
if (tonumber(held[2]) or 0) < tonumber(ARGV[2]) then return -1 end
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then return 0 end
if held[3] ~= ARGV[2] then
    redis.call('HSET', KEYS[1], 'device', ARGV[2])
    redis.call('HDEL', KEYS[1], 'commit')
end
return 1
