-- The rows of a table whose key begins with a prefix: key, value, key, value, ...
-- KEYS: the table. ARGV: the prefix.
local found, prefix = {}, ARGV[1]
for _, key in ipairs(redis.call('HKEYS', KEYS[1])) do
    if string.sub(key, 1, #prefix) == prefix then
        found[#found + 1] = key
        found[#found + 1] = redis.call('HGET', KEYS[1], key)
    end
end
return found
