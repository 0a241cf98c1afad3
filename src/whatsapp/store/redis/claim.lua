-- Opens a device to the owner of its session.
-- KEYS: the session. ARGV: owner, epoch.
-- 1: it is open. 0: somebody else owns the session. -1: Redis has lost this ownership.
local verdict, opened = fence(KEYS[1], ARGV[1], ARGV[2], DEVICE)
if verdict ~= 1 then return verdict end
if opened ~= ARGV[2] then
    redis.call('HSET', KEYS[1], DEVICE, ARGV[2])
    redis.call('HDEL', KEYS[1], COMMIT)
end
return 1
