-- The word that marks this data, stored by the first who asks, the server's run_id, and why nothing can be written here
-- now ('' where it can). A SET that changes nothing is refused like any other.
-- KEYS: the mark. ARGV: a word of our own.
local set = redis.pcall('SET', KEYS[1], ARGV[1], 'NX')
local refused = type(set) == 'table' and set.err or ''
-- A user without the right to ask learns no run_id.
local info = redis.pcall('INFO', 'server')
local run_id = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
return { redis.call('GET', KEYS[1]) or '', run_id, refused }
