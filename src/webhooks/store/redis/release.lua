-- Gives a claim back.
-- KEYS: how far the session's receivers are. ARGV: field of the claim, who.
local holder = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%S+) %d+$')
if holder == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end
return 1
