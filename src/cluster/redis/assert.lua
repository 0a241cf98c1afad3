-- Writes record and lease again as their owner knows them, after Redis came back: it may have lost them, or its end.
-- KEYS: the session. ARGV: record, owner, epoch, lease (ms), deleted ('' if not).
-- 1: they stand. 0: somebody else has the session.
local held = redis.call('HMGET', KEYS[1], 'owner', 'epoch')
local last, mine = tonumber(held[2] or 0), tonumber(ARGV[3])
if last > mine or (last == mine and held[1] ~= ARGV[2]) then return 0 end
local now = redis.call('TIME')
local expires = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[4])
redis.call('HSET', KEYS[1], 'record', ARGV[1], 'owner', ARGV[2], 'epoch', ARGV[3], 'expires', expires, 'runs', '1')
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'deleted', ARGV[5]) end
return 1
