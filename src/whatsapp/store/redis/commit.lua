-- Makes all changes, if the writer owns the session and its device is open to this ownership.
-- KEYS: the session, then the tables. ARGV: owner, epoch, number of the commit, then the changes:
-- 'p', table, key, value | 'd', table, key | 'c', table, prefix
-- 1: done, or done before. 0: no longer ours, or wiped. -1: Redis has lost this ownership.
-- 2: a later commit was carried out already; this one is late, and nobody waits for it.
local verdict, opened, last = fence(KEYS[1], ARGV[1], ARGV[2], DEVICE, COMMIT)
if verdict ~= 1 then return verdict end
if not opened then return -1 end
if opened ~= ARGV[2] then
    opened = tonumber(opened)
    return opened and opened < tonumber(ARGV[2]) and -1 or 0
end
if last then
    local this = tonumber(ARGV[3])
    last = tonumber(last)
    if this == last then return 1 end
    if this < last then return 2 end
end
redis.call('HSET', KEYS[1], COMMIT, ARGV[3])

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
