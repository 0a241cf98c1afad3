-- Takes a receiver of a session for a while.
-- KEYS: how far the session's receivers are, the session. ARGV: receiver, field of its claim, who, for how long (ms).
-- {0, ''}: another has it, or there is no such session. {1, what is stored of it}.
if redis.call('HEXISTS', KEYS[2], RECORD) == 0 then return { 0, '' } end
local now = time()
local holder, till = string.match(redis.call('HGET', KEYS[1], ARGV[2]) or '', '^(%S+) (%d+)$')
if holder and holder ~= ARGV[3] and tonumber(till) > now then return { 0, '' } end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3] .. ' ' .. text(now + ARGV[4]))
return { 1, redis.call('HGET', KEYS[1], ARGV[1]) or '' }
