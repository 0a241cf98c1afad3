-- Stores how far a receiver is, and renews its claim.
-- KEYS: how far the session's receivers are, the session. ARGV: receiver, what was stored before, what is from now on,
-- field of its claim, who has that ('' for a person's wish, which needs none), for how long it is renewed (ms).
-- 1: it is stored (again). 0: something else was, or another has the claim, or there is no such session.
if redis.call('HEXISTS', KEYS[2], RECORD) == 0 then return 0 end
if ARGV[5] ~= '' then
    local holder = string.match(redis.call('HGET', KEYS[1], ARGV[4]) or '', '^(%S+) %d+$')
    if holder ~= ARGV[5] then return 0 end
end
local stored = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if stored ~= ARGV[2] and stored ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], ARGV[4], ARGV[5] .. ' ' .. text(time() + ARGV[6])) end
return 1
