-- The end of a log: its QR, how many events it has, its first id, and the events after an id in their order.
-- KEYS: log, QR. ARGV: the id ('-' for all), how many at most.
local from = ARGV[1]
if from ~= '-' then from = '(' .. from end
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
return {
    string_or_none(KEYS[2]),
    redis.call('XLEN', KEYS[1]),
    first[1] and first[1][1] or '',
    redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', ARGV[2]),
}
