-- Makes all changes, if the writer owns the session and its device is open to this ownership.
-- KEYS: the session, then the tables. ARGV: owner, epoch, number of the commit, then the changes:
-- 'p', table, key, value | 'd', table, key | 'c', table, prefix
-- 1: done, or done before. 0: no longer ours, or wiped. -1: Redis has lost this ownership.
-- 2: a later commit was carried out already; this one is late, and nobody waits for it.
local held = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'device', 'commit')
local mine = tonumber(ARGV[2])
-- A smaller epoch in the hash is an older state that Redis has come back with; the owner writes the greater one again.
if (tonumber(held[2]) or 0) < mine then return -1 end
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then return 0 end
if not held[3] then return -1 end
if held[3] ~= ARGV[2] then
    local opened = tonumber(held[3])
    return opened and opened < mine and -1 or 0
end
if held[4] then
    local last, this = tonumber(held[4]), tonumber(ARGV[3])
    if this == last then return 1 end
    if this < last then return 2 end
end
redis.call('HSET', KEYS[1], 'commit', ARGV[3])

local function clear(table, prefix)
    if prefix == '' then return redis.call('UNLINK', table) end
    for _, key in ipairs(redis.call('HKEYS', table)) do
        if string.sub(key, 1, #prefix) == prefix then redis.call('HDEL', table, key) end
    end
end

local at = 4
while at <= #ARGV do
    local what, table, key = ARGV[at], KEYS[tonumber(ARGV[at + 1])], ARGV[at + 2]
    if what == 'p' then
        redis.call('HSET', table, key, ARGV[at + 3])
        at = at + 4
    elseif what == 'd' then
        redis.call('HDEL', table, key)
        at = at + 3
    else
        clear(table, key)
        at = at + 3
    end
end
return 1
