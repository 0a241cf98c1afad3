-- The last event of a log: its id, the event, the newest QR; empty where there is none.
-- KEYS: the session, its QR.
-- A key that is no string is no QR: the next one takes its place.
local qr = redis.pcall('GET', KEYS[2])
if type(qr) ~= 'string' then qr = '' end
local last = redis.call('HMGET', KEYS[1], LAST, EVENT)
return { last[1] or '', last[2] or '', qr }
