-- Keeps a version of WhatsApp Web and the time of a look-up, each unless a greater one is kept.
-- KEYS: the hash of both. ARGV: revision, Unix ms.
for at, field in ipairs({ REVISION, LOOKED_UP }) do
    local kept = tonumber(redis.call('HGET', KEYS[1], field))
    if not kept or kept < tonumber(ARGV[at]) then redis.call('HSET', KEYS[1], field, ARGV[at]) end
end
return 1
