-- The replicas that live, and since when this deployment has each; tells of oneself first, with a life of more than 0.
-- KEYS: name by end of life, name by first beat. ARGV: name, life (ms; 0: only ask; -1: leave).
local now = time()
local life = tonumber(ARGV[2])
if life > 0 then
    redis.call('ZADD', KEYS[1], now + life, ARGV[1])
    redis.call('HSETNX', KEYS[2], ARGV[1], text(now))
elseif life < 0 then
    redis.call('ZADD', KEYS[1], 0, ARGV[1])
end
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', text(now))) do
    redis.call('ZREM', KEYS[1], name)
    redis.call('HDEL', KEYS[2], name)
end
local living = {}
for _, name in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    local since = tonumber(redis.call('HGET', KEYS[2], name) or now)
    living[#living + 1] = { name, text(now - since) }
end
return living
