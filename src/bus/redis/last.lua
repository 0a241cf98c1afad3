-- The last event of a log: its id, the event, the newest QR; empty where there is none.
-- KEYS: the session, its QR.
local last = redis.call('HMGET', KEYS[1], 'last', 'event')
return { last[1] or '', last[2] or '', redis.call('GET', KEYS[2]) or '' }
