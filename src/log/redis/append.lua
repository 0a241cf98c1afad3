-- Appends an event to its session's log, stores it as the session's last, and publishes it.
-- KEYS: the session, its log, its QR.
-- ARGV: owner, epoch of the ownership, id, event without a QR's string, how many to keep, channel, message,
--       string of the QR ('' for none), when that may go (Unix ms), channel of the deployment, session,
--       '1' where events before it may be missing for good.
-- 1: it is in the log (again). 0: somebody else writes this log now. -1: Redis has lost this ownership.
local verdict, stored = fence(KEYS[1], ARGV[1], ARGV[2], LAST)
if verdict ~= 1 then return verdict end
local id = ARGV[3]
-- Where Redis has lost the end of the log, that is written again first: after this it could not be.
local last_epoch, last = string.match(stored or '', '(%d+)-(%d+)')
local epoch, seq = string.match(id, '(%d+)-(%d+)')
if last_epoch ~= epoch then last = '0' end
if ARGV[12] == '' and tonumber(seq) > tonumber(last) + 1 then return -1 end
local added = redis.pcall('XADD', KEYS[2], 'MAXLEN', '=', ARGV[5], id, ENTRY, ARGV[4])
if type(added) == 'table' and added.err then
    -- The owner numbers its events and is the only one to write here: this one was written before, and the answer was
    -- lost on its way.
    if string.find(added.err, 'equal or smaller', 1, true) then return 1 end
    return added
end
redis.call('HSET', KEYS[1], LAST, id, EVENT, ARGV[4])
if ARGV[8] ~= '' then
    redis.call('SET', KEYS[3], id .. ' ' .. ARGV[8], 'PXAT', ARGV[9])
end
redis.call('PUBLISH', ARGV[6], ARGV[7])
redis.call('PUBLISH', ARGV[10], ARGV[11] .. ' ' .. id .. ' ' .. ARGV[4])
return 1
